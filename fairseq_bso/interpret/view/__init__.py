"""`fairseq-bso view`: a capture folder in the browser.

command         the subcommand
server, page    the web server, and what it serves
fields          the fields of a request, read strictly
requests        which states a request looks at, and what a unit has to do where
answers         what the page asks
rankings        which units tell a track
"""

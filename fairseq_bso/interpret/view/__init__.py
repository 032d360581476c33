"""`fairseq-bso view`: a capture folder in the browser.

command         the subcommand
server, page    the web server, and the page that it serves
fields          reads the fields of a request strictly
requests        one frozen dataclass for each kind of request, and the function that parses it
card_requests   the same for the card of a unit, and for the table of all units
cards           the answers to these
answers         the answer to each kind of request
own_requests    the requests about one's own text, and the functions that parse them
own_answers     their answers, by a model
json_text       answers as JSON
addresses       the requests that the page sends for an address
standalone      one HTML file that shows one view, without server
notebook        one view in a notebook
columns         the units of the states in view, by name and by number
rankings        the units that predict a track best, computed once for each request
"""

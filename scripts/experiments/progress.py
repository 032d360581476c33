"""A progress display: one live line on a terminal, sparse plain lines anywhere else."""

import shutil
import sys
import time

# Seconds between two lines without a terminal (a file, a pipe, a build log).
PLAIN_INTERVAL = 30.0


def clock(seconds):
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, seconds = divmod(int(max(seconds, 0) + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Shows the progress of one stage and estimates the remaining time from the pace so far.

    Args:
        unit: the name of the counted unit, in the singular ("update").
        stream: the output; a terminal gets one line that is rewritten.
        now: the clock, replaced in tests.
    """

    def __init__(self, unit, stream=None, now=time.monotonic):
        self.unit = unit
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.now = now
        self.started = now()
        self.last_plain = self.started
        # The count at the start of this run: a resumed training does not begin at zero.
        self.first = None

    def show(self, done, total, note=""):
        """Reports `done` of `total`. A `total` of 0 is unknown: only the time is shown."""
        now = self.now()
        passed = now - self.started
        text = f"  {clock(passed)} passed"
        if total:
            text = f"  {self.unit} {done} of {total}" + (f", {note}" if note else "") + f", {clock(passed)} passed"
            text += self.time_left(done, total, now)
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write("\r" + text[:width].ljust(width))
            self.stream.flush()
        elif now - self.last_plain >= PLAIN_INTERVAL:
            self.last_plain = now
            print(text, file=self.stream, flush=True)

    def time_left(self, done, total, now):
        if not done:
            return ""
        if self.first is None:
            self.first = (done, now)
        # The pace is measured from the first report on, so that loading and a resumed part do not count.
        new, since = done - self.first[0], now - self.first[1]
        return f", about {clock(since / new * (total - done))} left" if new > 0 and total > done else ""

    def close(self, text):
        """Replaces the live line by a last one."""
        if self.live:
            self.stream.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
        print(f"  {text}", file=self.stream, flush=True)

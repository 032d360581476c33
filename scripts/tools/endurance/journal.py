"""The results of a campaign, one line of JSON for each case, and the table made of them."""

import json
from collections import defaultdict


class Journal:
    """The file CAMPAIGN.jsonl of one campaign. A second run reads what is done, and goes on.

    Args:
        folder: of the file.
        campaign: its name.
    """

    def __init__(self, folder, campaign):
        self.path, self.campaign = folder / f"{campaign}.jsonl", campaign
        # Two runs at once may both have done a case: the last result counts.
        self.cases = list({(case["seed"], case["number"]): case for case in self._read()}.values())

    def _read(self):
        """The whole lines. A run that was killed may leave half a line, which is cut off."""
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            with open(self.path, "r+b") as file:
                file.truncate(whole)
        for line in content[:whole].splitlines():
            yield json.loads(line)

    def done(self, seed):
        """The numbers of the finished cases of one seed."""
        return {case["number"] for case in self.cases if case["seed"] == seed}

    def add(self, **case):
        """Adds a case: seed, number, kind, size (how many checks it holds), failure (text or None), about."""
        self.cases.append(case)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(case, sort_keys=True) + "\n")

    def forget_failures(self, wanted):
        """Removes the failed cases whose kind is `wanted(kind)`. They are then run once more."""
        self.cases = [case for case in self.cases if not (case["failure"] and wanted(case["kind"]))]
        if self.path.exists():
            beside = self.path.with_name(f"{self.path.name}.new")
            beside.write_text("".join(json.dumps(case, sort_keys=True) + "\n" for case in self.cases), encoding="utf-8")
            beside.replace(self.path)


def table(journals, checked):
    """The Markdown table of all campaigns.

    Args:
        journals: of the campaigns.
        checked: {campaign: {kind: what is checked}}
    """
    rows = ["| campaign | cases | what is checked | failures |", "|---|---|---|---|"]
    for journal in journals:
        sizes, failed = defaultdict(int), defaultdict(int)
        for case in journal.cases:
            sizes[case["kind"]] += case["size"]
            failed[case["kind"]] += bool(case["failure"])
        for kind, text in checked[journal.campaign].items():
            if sizes[kind]:
                rows.append(f"| {journal.campaign}/{kind} | {sizes[kind]:,} | {text} | {failed[kind]} |")
    return "\n".join(rows)

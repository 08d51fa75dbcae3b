"""The list of datasets, as `esr fetch --manifest` reads it, of archives that `synthetic.py` made. Standard library only."""

HEAD = """# Written by benches/fetch/rehearsal.py: synthetic archives on loopback.
schema = 1

[evidence]
made = "benches/fetch/synthetic.py"

[terms.synthetic]
summary = "made of random numbers"
source = "benches/fetch/synthetic.py"
"""

ARCHIVE = """
[[archive]]
file = "{file}"
format = "zip"
urls = ["{url}"]
bytes = {bytes}
sha256 = "{sha256}"
md5 = "{md5}"
evidence = {{ urls = ["made"], bytes = ["made"], sha256 = ["made"], md5 = ["made"] }}
"""

DATASET = """
[[dataset]]
name = "{name}"
title = "synthetic {name}"
split = "{split}"
role = {role}
folder = "{folder}"
files = {{ kind = "numbered", pattern = "{pattern}", first = {first}, last = {last} }}
terms = "synthetic"

[[dataset.source]]
kind = "archive"
archive = "{archive}"
prefix = "{folder}"
likeness = "bytes"
{folder_md5}"""


def toml(made, base_url):
    """The text. `made` is what `archives.json` holds.

    >>> facts = {"bytes": 1, "sha256": "ab" * 32, "md5": "cd" * 16}
    >>> one = {"name": "x", "archive": "x.zip", "folder": "X", "pattern": "{:04}.png", "first": 1, "last": 2}
    >>> one |= {"split": "train", "hr": None, "folder_md5": "ef" * 16}
    >>> lr = {**one, "name": "y", "hr": "x", "folder_md5": None}
    >>> text = toml({"archives": {"x.zip": facts}, "sets": [one, lr]}, "http://h:1")
    >>> 'urls = ["http://h:1/x.zip"]' in text, 'role = { kind = "hr" }' in text, 'scale = 4, hr = "x" }' in text
    (True, True, True)
    """
    parts = [HEAD]
    for file, facts in made["archives"].items():
        parts.append(ARCHIVE.format(file=file, url=f"{base_url}/{file}", **facts))
    for dataset in made["sets"]:
        hr = dataset["hr"]
        role = f'{{ kind = "lr", scale = 4, hr = "{hr}" }}' if hr else '{ kind = "hr" }'
        md5 = dataset["folder_md5"]
        # As in the real list, which knows the MD5 of both HR folders.
        whole = f'folder_md5 = "{md5}"\nevidence = {{ layout = ["made"], folder_md5 = ["made"] }}\n'
        evidence = whole if md5 else 'evidence = { layout = ["made"] }\n'
        parts.append(DATASET.format(**{**dataset, "role": role, "folder_md5": evidence}))
    return "".join(parts)

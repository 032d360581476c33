#!/usr/bin/env bash
# h5py 3.16.0: word numbers that the type of a dataset cannot hold become the largest number of the type, without a
# message. All rare words of a corpus then have the number of one word.
#
# The documentation says that datasets are much like NumPy arrays. NumPy wraps such a number around, so that two words
# seldom meet. `Dataset.__setitem__` of h5py/_hl/dataset.py hands an array of another type to the HDF5 library. That
# replaces what is out of range by the nearest end of the range. `create_dataset(data=..., dtype=...)` and the reading
# views of `astype` do so too. A single Python number is converted by NumPy instead, which raises an error. So a try
# with one word does not warn.
#
# Seen: the numbers 5, 40000, 70000 and 200000 in a dataset of int16 are 5, 32767, 32767 and 32767. The padding -1 in
# a dataset of uint16 is 0, which may be the number of a word. `dataset[0] = 40000` raises OverflowError.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here needs a workaround: `_add_states` of
# fairseq_bso/interpret/capture/records.py writes words as int32. tests/plugin/test_states_files.py holds that a
# number beyond 16 bits comes back.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: h5py==3.16.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" -W error - <<'PYTHON'
import sys

import h5py
import numpy

words = numpy.array([5, 40000, 70000, 200000])
with h5py.File("words.hdf5", "w") as file:
    appended = file.create_dataset("appended", (4,), dtype="int16")
    appended[:] = words
    made = file.create_dataset("made", data=words, dtype="int16")
    single = file.create_dataset("single", (1,), dtype="int16")
    try:
        single[0] = 40000
        outcome = "no error"
    except OverflowError:
        outcome = "OverflowError"
    file["padded"] = numpy.zeros(3, "uint16")
    file["padded"][:] = numpy.array([7, -1, -1])
    file["whole"] = words
    seen = {
        "h5py, an array into a dataset of int16": appended[:].tolist(),
        "h5py, create_dataset of an array as int16": made[:].tolist(),
        "h5py, a dataset of int64 read as int16": file["whole"].astype("int16")[:].tolist(),
        "h5py, 7, -1 and -1 into a dataset of uint16": file["padded"][:].tolist(),
        "h5py, one Python number": outcome,
        "NumPy, an array as int16": words.astype("int16").tolist(),
    }
for name, found in seen.items():
    print(f"{name}: {found}")
largest = [5, 32767, 32767, 32767]
known = [largest, largest, largest, [7, 0, 0], "OverflowError", [5, -25536, 4464, 3392]]
same = list(seen.values()) == known
print("as described" if same else "the behaviour has changed")
sys.exit(not same)
PYTHON

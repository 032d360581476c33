"""Changes of an HDF5 file that leave it a valid HDF5 file."""


def damage(path, chance):
    """Changes one thing in the file. Returns what was done."""
    import h5py

    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        name = chance.choice(sorted(names))
        change = chance.choice((_shape, _dtype, _values, _name, _link, _attributes, _external, _group))
        change(file, name, chance)
        return f"{name}: {change.__name__[1:]}"


def _replace(file, name, values):
    attributes = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, data=values)
    for key, value in attributes.items():
        file[name].attrs[key] = value


def _shape(file, name, chance):
    values = file[name][()]
    ways = (values[:-1], values[:0], values.reshape(-1), values[..., None], values.T, values[:1], values[::2])
    _replace(file, name, chance.choice(ways))


def _dtype(file, name, chance):
    kinds = ("float64", "float16", "int8", "uint8", "complex64", "bool", "S4")
    _replace(file, name, file[name][()].astype(chance.choice(kinds)))


def _values(file, name, chance):
    import numpy

    values = file[name][()].reshape(-1).copy()
    if values.size:
        odd = (0, -1, 127, 2**31 - 1, float("nan"), float("inf"))
        value = chance.choice(odd if values.dtype.kind == "f" else odd[:4])
        places = numpy.array([chance.randrange(values.size) for _ in range(chance.choice((1, 5, 50)))])
        with numpy.errstate(all="ignore"):
            values[places] = numpy.array(value).astype(values.dtype)
    _replace(file, name, values.reshape(file[name].shape))


def _name(file, name, chance):
    file.move(name, name + "x")


def _link(file, name, chance):
    import h5py

    del file[name]
    links = (h5py.SoftLink("/nothing"), h5py.SoftLink("/"), h5py.ExternalLink("/etc/hostname", "/x"))
    file[name] = chance.choice((*links, h5py.ExternalLink("states.hdf5", "/hidden1")))


def _attributes(file, name, chance):
    item = chance.choice((file, file[name]))
    for key in list(item.attrs):
        item.attrs[key] = chance.choice(("{", "null", "[1]", 5, 1e300, b"\xff"))
    item.attrs["labels"] = chance.choice(("[", "[]", "3", '["a"]', 7))


def _external(file, name, chance):
    import h5py

    shape, dtype = file[name].shape, file[name].dtype
    del file[name]
    kind = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    kind.set_external(b"/dev/zero" if chance.random() < 0.5 else b"../outside", 0, h5py.h5f.UNLIMITED)
    space = h5py.h5s.create_simple(shape)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.py_create(dtype), space, dcpl=kind).close()


def _group(file, name, chance):
    del file[name]
    file.create_group(name)

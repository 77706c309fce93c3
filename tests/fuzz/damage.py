"""Random damage to files: anywhere, and inside what would else be checked first."""

from __future__ import annotations

import copy
import gzip
import json
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np

#: What is written over numbers in files, and over values in JSON.
NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
VALUES = (None, True, -1, 0, 3, 2**31, 2**63, 1e308, "", "x", "../x", [], {}, [0], "NaN", [[]])


def hurt_bytes(content: bytes, rng: random.Random) -> bytes:
    """Change a few bytes; mostly at the beginning, where headers are."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        reach = len(data) if rng.random() < 0.4 else min(len(data), 512)
        at = rng.randrange(max(1, reach))
        way = rng.randrange(6)
        if way == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif way == 1 and data:
            data[at] = rng.randrange(256)
        elif way == 2:
            form = rng.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
            number = rng.choice(NUMBERS) & ((1 << 8 * struct.calcsize(form)) - 1)
            data[at : at + struct.calcsize(form)] = struct.pack(form, number)
        elif way == 3:
            del data[at : at + rng.choice((1, 2, 8, 64))]
        elif way == 4:
            data[at:at] = data[: rng.choice((1, 4, 32))] or b"\0"
        elif rng.random() < 0.3:
            del data[at:]
    return bytes(data)


def hurt_json(value: Any, rng: random.Random) -> Any:
    """Change, remove or double one thing somewhere inside."""
    value = copy.deepcopy(value)
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    if not places:
        return rng.choice(VALUES)
    for _ in range(rng.choice((1, 1, 1, 3))):
        node, key = rng.choice(places)
        if isinstance(node, list) and not (isinstance(key, int) and key < len(node)):
            continue
        way = rng.randrange(4)
        if way == 0 and isinstance(node, dict):
            node.pop(key, None)
        elif way == 1 and isinstance(node, list):
            node.insert(key, copy.deepcopy(node[key]))
        elif way == 2 and key in (node if isinstance(node, dict) else range(len(node))):
            now = node[key]
            node[key] = now + rng.choice((-1, 1, 7)) if type(now) is int else rng.choice(VALUES)
        else:
            node[key] = rng.choice(VALUES)
    return value


def hurt_array(array: np.ndarray, rng: random.Random) -> np.ndarray:
    """Change values, shape or dtype."""
    way = rng.randrange(6)
    if way == 0 and array.size:
        out = array.copy()
        out.reshape(-1)[rng.randrange(out.size)] = rng.choice((0, 1, 200))
        return out
    if way == 1 and array.size and array.dtype.kind == "f":
        out = array.copy()
        out.reshape(-1)[rng.randrange(out.size)] = rng.choice((np.nan, np.inf, 1e30, -1))
        return out
    if way == 2:
        return array[: rng.randrange(len(array) + 1)] if array.ndim else array
    if way == 3:
        return array.astype(rng.choice(("u1", "i8", "f4", "bool", "u4")))
    if way == 4:
        return np.roll(array, 1)
    return array.reshape(-1) if rng.random() < 0.5 else np.zeros((0, *array.shape[1:]), array.dtype)


def hurt_container(path: Path, rng: random.Random) -> None:
    """Damage what is inside a safetensors file of ours, so that the file itself is whole."""
    from safetensors.numpy import load_file, save_file

    from napari_clusternet.io.model_files import KEY

    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    if rng.random() < 0.3:  # the header, whose length is then right
        header = hurt_json(header, rng)
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
        return
    content, arrays = json.loads(header["__metadata__"][KEY]), dict(load_file(path))
    content.pop("checksums")  # whoever edits a file can leave them out
    if rng.random() < 0.5:
        content = hurt_json(content, rng)
    else:
        for name in rng.sample(sorted(arrays), rng.choice((1, 1, 2))):
            arrays[name] = np.ascontiguousarray(hurt_array(arrays[name], rng))
    save_file(arrays, path, metadata={KEY: json.dumps(content)})


def hurt(path: Path, rng: random.Random) -> None:
    """Damage a file, or one file of a folder, in place."""
    if path.is_dir():
        path = rng.choice(sorted(p for p in path.rglob("*") if p.is_file()))
    if path.suffix in (".safetensors", ".clusternet", ".strokes") and rng.random() < 0.8:
        hurt_container(path, rng)
    elif path.name in ("zarr.json", ".zarray", ".zattrs") and rng.random() < 0.8:
        path.write_text(json.dumps(hurt_json(json.loads(path.read_text()), rng)))
    elif path.name.endswith(".nii.gz") and rng.random() < 0.7:
        path.write_bytes(gzip.compress(hurt_bytes(gzip.decompress(path.read_bytes()), rng), 1))
    else:
        path.write_bytes(hurt_bytes(path.read_bytes(), rng))

"""Inputs of every kind: real photographs, archives and trees written here, damaged files."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topoact_gpu.activations.entries import PackedStrings, fingerprint, number_labels
from topoact_gpu.activations.images import ImageFiles
from topoact_gpu.activations.inputs import Inputs, TextRecord, UnreadableInput, open_inputs
from topoact_gpu.activations.photos import PHOTOS, photo_path
from topoact_gpu.activations.pixels import decode_image, thumbnail
from topoact_gpu.errors import DataError, ParameterError, StoreError, TopoactError

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("skimage")

CHELSEA = photo_path(*PHOTOS["chelsea"])
CHINA = photo_path(*PHOTOS["china"])


def saved(image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def plain(color="red", size=(6, 4)) -> bytes:
    return saved(Image.new("RGB", size, color))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def entries(inputs: Inputs) -> list[tuple[str, str | None]]:
    """Id and class name of each input."""
    found = [inputs.entry(i) for i in range(len(inputs))]
    names = dict(enumerate(inputs.class_names))
    return [(entry.id, names.get(entry.class_id)) for entry in found]


def reasons(inputs: Inputs) -> dict[str, str]:
    """Why each of the unreadable inputs is so."""
    found = {}
    for i in range(len(inputs)):
        try:
            inputs.load(i)
        except UnreadableInput as error:
            found[error.id] = error.reason if error.id == inputs.entry(i).id else "another id"
    return found


# --- image sources


TREE = {
    "dog/b.png": plain(),
    "dog/a.JPEG": CHINA.read_bytes(),
    "cat/deep/er/1.png": plain(),
    "cat-like/2.png": plain(),
    "top.png": plain(),
    "notes.txt": b"no image",
    "cat/.hidden.png": plain(),
    ".git/3.png": plain(),
}


def test_a_folder_tree(tmp_path):
    inputs = open_inputs(write(tmp_path / "images", TREE))
    assert inputs.kind == "image"
    assert entries(inputs) == [
        ("cat-like/2.png", "cat-like"),
        ("cat/deep/er/1.png", "cat"),
        ("dog/a.JPEG", "dog"),
        ("dog/b.png", "dog"),
        ("top.png", None),
    ]
    assert inputs.class_names == ["cat", "cat-like", "dog"]
    assert inputs.load(2).size == pixels(CHINA).shape[1::-1]
    assert inputs.record["other_files"] == 1
    assert inputs.record["number"] == 5
    json.dumps(inputs.record)


def test_listing_reads_no_image(tmp_path, monkeypatch):
    root = write(tmp_path / "images", TREE)

    def refuse(*_arguments, **_options):
        raise AssertionError("an image was opened")

    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr(Image, "open", refuse)
    inputs = open_inputs(str(root))
    assert len([inputs.entry(i) for i in range(len(inputs))]) == 5


def test_a_changed_folder_has_another_digest(tmp_path):
    def digest() -> str:
        return open_inputs(tmp_path).record["digest"]

    write(tmp_path, {"a/1.png": plain(), "b/2.png": plain()})
    first = digest()
    assert digest() == first
    write(tmp_path, {"a/3.png": plain()})
    more = digest()
    (tmp_path / "a/3.png").rename(tmp_path / "b/3.png")
    moved = digest()
    (tmp_path / "b/3.png").unlink()
    assert len({first, more, moved}) == 3
    assert digest() == first


def test_links_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path, {"real/1.png": plain(), "tree/own.png": plain()})
    (tmp_path / "tree" / "linked").symlink_to(tmp_path / "real", target_is_directory=True)
    (tmp_path / "real" / "back").symlink_to(tmp_path / "tree", target_is_directory=True)
    assert entries(open_inputs(tmp_path / "tree")) == [
        ("linked/1.png", "linked"),
        ("own.png", None),
    ]


def test_a_name_that_is_no_text_can_be_read(tmp_path):
    try:
        write(tmp_path, {os.fsdecode(b"caf\xe9.png"): plain()})
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    inputs = open_inputs(tmp_path)
    assert inputs.entry(0).id == "caf\\xe9.png"
    assert inputs.load(0).size == (6, 4)


def test_a_folder_without_images(tmp_path):
    write(tmp_path, {"a.txt": b"", "b.csv": b""})
    with pytest.raises(DataError, match=r"hold no image \(2 other files\)"):
        open_inputs(tmp_path)


def test_a_list_file(tmp_path):
    write(tmp_path, {"sub/b.png": plain(), "a b.png": plain(), "c.png": plain()})
    content = "\ufeffsub/b.png\t10\r\n\na b.png\t9\nc.png\ngone.png\t9\n"
    (tmp_path / "list").write_bytes(content.encode())
    inputs = open_inputs(f"list:{tmp_path / 'list'}")
    assert inputs.class_names == ["9", "10"]
    assert entries(inputs) == [
        ("a b.png", "9"),
        ("c.png", None),
        ("gone.png", "9"),
        ("sub/b.png", "10"),
    ]
    assert reasons(inputs) == {"gone.png": "No such file or directory"}


@pytest.mark.parametrize(
    ("content", "message"),
    [("a.png\nb.png\na.png\t1\n", "line 3: a.png stands in an earlier"), ("\n", "lists no image")],
)
def test_a_list_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "list").write_text(content)
    with pytest.raises(DataError, match=message):
        open_inputs(f"list:{tmp_path / 'list'}")


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_tar_shards_with_labels(tmp_path):
    first = {
        "002.cls": b"7\n",
        "002.png": plain("blue", (3, 2)),
        "001.jpg": CHINA.read_bytes(),
        "001.json": json.dumps({"label": 12, "kind": "place"}).encode(),
        "001.txt": b"a caption",
    }
    write_tar(tmp_path / "s0.tar", first)
    write_tar(tmp_path / "s1.tar", {"a/x.seg.png": plain(), "a/x.cls": b"7", "a/y.png": plain()})
    inputs = open_inputs(f"tar:{tmp_path}/s?.tar")
    assert entries(inputs) == [
        ("s0.tar:001.jpg", "12"),
        ("s0.tar:002.png", "7"),
        ("s1.tar:a/x.seg.png", "7"),
        ("s1.tar:a/y.png", None),
    ]
    assert inputs.class_names == ["7", "12"]
    assert inputs.load(1).getpixel((0, 0)) == (0, 0, 255)
    assert np.array_equal(np.asarray(inputs.load(0)), pixels(CHINA))
    assert inputs.entry(2).columns == {"shard": "s1.tar"}
    assert inputs.record["shards"] == 2
    kinds = open_inputs(f"tar:{tmp_path}/s0.tar?label=kind&ext=jpg")
    assert entries(kinds) == [("s0.tar:001.jpg", "place")]


def test_tar_shards_by_folder(tmp_path):
    write_tar(
        tmp_path / "a.tar", {"./train/cat/1.png": plain(), "./2.png": plain(), "._2.png": b""}
    )
    (tmp_path / "sub").mkdir()
    write_tar(tmp_path / "sub" / "a.tar", {"dog/1.png": plain("blue")})
    inputs = open_inputs(f"tar:{tmp_path}/**/*.tar")
    assert entries(inputs) == [
        ("a.tar:2.png", None),
        ("a.tar:train/cat/1.png", "cat"),
        ("sub/a.tar:dog/1.png", "dog"),
    ]
    assert entries(open_inputs(tmp_path / "sub" / "a.tar")) == [("a.tar:dog/1.png", "dog")]


def test_the_last_of_equal_members_counts_and_content_moves_the_digest(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for color in ("red", "blue"):
            data = plain(color)
            info = tarfile.TarInfo("1.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    inputs = open_inputs(tmp_path / "a.tar")
    assert len(inputs) == 1
    assert inputs.load(0).getpixel((0, 0)) == (0, 0, 255)
    write_tar(tmp_path / "a.tar", {"1.png": plain("red", (60, 40))})
    assert open_inputs(tmp_path / "a.tar").record["digest"] != inputs.record["digest"]


def test_a_broken_archive_is_an_error(tmp_path):
    path = write_tar(tmp_path / "a.tar", {f"{n}.png": plain(size=(90, 90)) for n in range(5)})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(StoreError, match=r"a\.tar is no complete, uncompressed tar archive"):
        open_inputs(path)
    path = write_tar(tmp_path / "a.tar", {f"{n}.png": plain() for n in range(5)})
    damaged = bytearray(path.read_bytes())
    damaged[2 * 1024 + 20] ^= 1  # the third member's header
    path.write_bytes(damaged)
    with pytest.raises(StoreError, match="damaged header at byte 2,048 after 2 members"):
        open_inputs(path)
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        archive.add(CHINA, "1.jpg")
    with pytest.raises(StoreError, match=r"decompress it"):
        open_inputs(f"tar:{tmp_path}/b.tar.gz")
    with pytest.raises(DataError, match="no file matches"):
        open_inputs(f"tar:{tmp_path}/c*.tar")
    write_tar(tmp_path / "c.tar", {"1.txt": b""})
    with pytest.raises(DataError, match="none holds an image"):
        open_inputs(f"tar:{tmp_path}/c.tar")


def test_an_archive_that_shrank_after_listing(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.png": plain(size=(90, 90))})
    inputs = open_inputs(path)
    path.write_bytes(path.read_bytes()[:600])
    assert "only 88 are there" in reasons(inputs)["a.tar:1.png"]


def test_the_photographs():
    inputs = open_inputs("skimage:photos")
    assert inputs.class_names == sorted(PHOTOS)
    assert entries(inputs) == [(name, name) for name in sorted(PHOTOS)]
    for i, name in enumerate(inputs.class_names):
        image = inputs.load(i)
        assert image.mode == "RGB"
        assert image.info == {}
        assert np.array_equal(np.asarray(image), pixels(photo_path(*PHOTOS[name])))


def test_the_digits():
    inputs = open_inputs("sklearn:digits")
    assert len(inputs) == 1797
    assert inputs.class_names == [str(digit) for digit in range(10)]
    assert entries(inputs)[:2] == [("digit:0", "0"), ("digit:1", "1")]
    digit = np.asarray(inputs.load(0))
    assert digit.shape == (8, 8, 3)
    assert (digit.min(), digit.max()) == (0, 239)  # 15 of 16


class Pairs:
    """A data set; ``read`` says which items were asked for."""

    def __init__(self, *items: object) -> None:
        self.items, self.read = items, []

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> object:
        self.read.append(i)
        if isinstance(self.items[i], Exception):
            raise self.items[i]
        return self.items[i]


def test_a_torch_dataset():
    torch = pytest.importorskip("torch")
    images = torch.zeros(4, 3, 6, 7, dtype=torch.uint8)
    images[1, 2] = 255
    inputs = open_inputs(torch.utils.data.TensorDataset(images, torch.tensor([3, 1, 2, 3])))
    assert [inputs.entry(i).class_id for i in range(4)] == [3, 1, 2, 3]
    assert inputs.entry(2).id == "item:2"
    image = inputs.load(1)
    assert image.size == (7, 6)
    assert image.getpixel((0, 0)) == (0, 0, 255)
    ready = open_inputs(Pairs((torch.full((3, 2, 2), -0.5, dtype=torch.float64), 1))).load(0)
    assert ready.dtype == torch.float32
    assert ready.tolist() == torch.full((3, 2, 2), -0.5).tolist()
    grey = open_inputs([torch.full((1, 2, 5), 9, dtype=torch.uint8)])
    assert grey.load(0).getpixel((4, 1)) == (9, 9, 9)
    assert grey.entry(0).class_id == -1


def test_a_data_set_of_pictures_is_read_once():
    data = Pairs((Image.new("L", (3, 2)), 1), (np.zeros((2, 3, 3), np.uint8), "cat"))
    inputs = open_inputs(data)
    assert [inputs.load(i).mode for i in range(2)] == ["RGB", "RGB"]
    assert [inputs.entry(i).class_id for i in (1, 0)] == [-1, 1]
    assert data.read == [0, 1, 0]
    data.targets, data.classes = [1, 0], ["dog", "cat"]
    known = open_inputs(data)
    data.read.clear()
    assert entries(known) == [("item:0", "cat"), ("item:1", "dog")]
    assert data.read == []
    assert known.record["digest"] != inputs.record["digest"]
    assert known.record["spec"].endswith("Pairs")


def test_damage_in_a_data_set():
    inputs = open_inputs(Pairs(OSError("image file is truncated"), (np.zeros((2, 2)), 0)))
    found = reasons(inputs)
    assert found["item:0"] == "image file is truncated"
    assert "got ndarray of float64, shape (2, 2)" in found["item:1"]
    with pytest.raises(KeyError):  # a mistake in the data set itself is not the input's
        open_inputs(Pairs(KeyError("x")))


def test_a_data_set_of_texts():
    inputs = open_inputs([("It rains.", 1), ("It snows.", 0)])
    assert inputs.kind == "text"
    assert inputs.load(1) == TextRecord("It snows.")
    assert inputs.entry(0).class_id == 1


# --- pixels


def pixel(data: bytes, at=(0, 0)) -> tuple[int, int, int]:
    image = decode_image(data, "x")
    assert image.mode == "RGB"
    return image.getpixel(at)


def test_every_mode_becomes_rgb():
    grey = Image.new("L", (4, 4), 77)
    assert pixel(saved(grey)) == (77, 77, 77)
    assert pixel(saved(grey.convert("1"))) in ((0, 0, 0), (255, 255, 255))
    assert pixel(saved(Image.new("RGB", (4, 4), (9, 8, 7)).convert("P", palette=1))) == (9, 8, 7)
    assert pixel(saved(Image.new("RGBA", (4, 4), (200, 0, 0, 0)))) == (255, 255, 255)
    assert pixel(saved(Image.new("RGBA", (4, 4), (0, 0, 0, 51)))) == (204, 204, 204)
    assert pixel(saved(Image.new("LA", (4, 4), (10, 255)))) == (10, 10, 10)
    transparent = Image.new("P", (4, 4), 0)
    transparent.putpalette([10, 20, 30, 40, 50, 60])
    assert pixel(saved(transparent, transparency=0)) == (255, 255, 255)
    assert pixel(saved(transparent, transparency=1)) == (10, 20, 30)
    assert pixel(saved(transparent, "GIF")) == (10, 20, 30)
    cmyk = pixel(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert cmyk[0] > 240
    assert max(cmyk[1:]) < 15


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_range(format):
    ramp = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    image = decode_image(saved(Image.fromarray(ramp), format), "x")
    assert [image.getpixel((x, 0))[0] for x in range(4)] == [0, 1, 128, 255]


def test_values_without_a_known_white():
    unit = saved(Image.fromarray(np.array([[0.0, 1.0]], dtype=np.float32)), "TIFF")
    assert [pixel(unit, (x, 0))[0] for x in (0, 1)] == [0, 255]
    for values in ([[-3.0, 900.0]], [[0.0, np.nan]]):
        data = saved(Image.fromarray(np.array(values, dtype=np.float32)), "TIFF")
        with pytest.raises(UnreadableInput, match=r"mode F must lie in \[0, 1\]"):
            decode_image(data, "x")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied(orientation, format):
    from PIL import ImageOps

    corners = np.zeros((16, 32, 3), np.uint8)
    corners[:8, :16] = (250, 10, 10)
    corners[8:, 16:] = (10, 10, 250)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(corners), format, exif=exif)
    with Image.open(io.BytesIO(data)) as opened:
        expected = ImageOps.exif_transpose(opened).convert("RGB")
    image = decode_image(data, "x")
    assert image.size == ((32, 16) if orientation < 5 else (16, 32))
    assert np.array_equal(np.asarray(image), np.asarray(expected))
    assert not image.getexif()


def test_damaged_orientation_is_none():
    exif = Image.Exif()
    exif[0x0112] = 99
    assert decode_image(saved(Image.new("RGB", (4, 2)), exif=exif), "x").size == (4, 2)


def test_what_is_no_image_says_why(tmp_path):
    whole = CHINA.read_bytes()
    write(
        tmp_path,
        {
            "cut.jpg": whole[: len(whole) // 2],
            "cut.png": CHELSEA.read_bytes()[:5000],
            "empty.png": b"",
            "page.jpg": b"<html>404</html>",
            "good.jpg": whole,
        },
    )
    (tmp_path / "folder.png").mkdir()
    inputs = open_inputs(tmp_path)
    found = reasons(inputs)
    assert set(found) == {"cut.jpg", "cut.png", "empty.png", "page.jpg"}
    assert "truncated" in found["cut.jpg"]
    assert found["page.jpg"] == found["empty.png"] == "not an image in a format that Pillow reads"
    assert reasons(inputs) == found
    assert not any("0x" in reason for reason in found.values())


def test_a_decompression_bomb_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UnreadableInput, match="a decompression bomb"):
        decode_image(plain(size=(20, 20)), "x")


def test_a_missing_file_differs_from_a_machine_without_files(tmp_path, monkeypatch):
    inputs = open_inputs(write(tmp_path, {"a.png": plain()}))
    (tmp_path / "a.png").unlink()
    assert reasons(inputs) == {"a.png": "No such file or directory"}

    def exhausted(*_arguments, **_options):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("builtins.open", exhausted)
    with pytest.raises(StoreError, match="Too many open files"):
        inputs.load(0)


Image.init()  # all formats; AVIF is missing from some builds
SMALL = Image.fromarray(pixels(CHELSEA)).resize((45, 30))
FORMATS = {
    name: saved(SMALL.convert("P") if name == "GIF" else SMALL, name)
    for name in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "AVIF")
    if name in Image.SAVE
}


@settings(max_examples=150)
@given(st.sampled_from(sorted(FORMATS)), st.data())
@pytest.mark.filterwarnings("ignore")
def test_damage_anywhere_is_an_image_or_an_unreadable_one(format, data):
    damaged = bytearray(FORMATS[format])
    for _ in range(data.draw(st.integers(1, 8))):
        # headers are where decoders trip
        at = data.draw(st.integers(0, min(len(damaged) - 1, 400)))
        damaged[at] = data.draw(st.integers(0, 255))
    del damaged[data.draw(st.integers(len(damaged) // 2, len(damaged))) :]
    with contextlib.suppress(UnreadableInput):
        assert decode_image(bytes(damaged), "x").mode == "RGB"


@pytest.mark.parametrize(("size", "small"), [((640, 480), (96, 72)), ((3, 500), (1, 96))])
def test_thumbnails(size, small):
    image = Image.fromarray(pixels(CHELSEA)).resize(size)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.info.update(exif=exif.tobytes(), comment=b"secret", dpi=(300, 300))
    data = thumbnail(image)
    opened = Image.open(io.BytesIO(data))
    assert (opened.format, opened.size) == ("JPEG", small)
    assert not opened.getexif()
    assert b"secret" not in data
    assert thumbnail(image.copy()) == data
    assert len(data) < 8_000


def test_a_small_image_keeps_its_size():
    assert Image.open(io.BytesIO(thumbnail(Image.new("RGB", (8, 8))))).size == (8, 8)
    assert Image.open(io.BytesIO(thumbnail(Image.new("RGB", (64, 8)), side=32))).size == (32, 4)
    with pytest.raises(ParameterError, match="at least 1 pixel"):
        thumbnail(Image.new("RGB", (8, 8)), side=0)


# --- text sources


def texts(inputs: Inputs) -> list[str]:
    return [inputs.load(i).text for i in range(len(inputs))]


def test_lines_of_a_text_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(
        b"\xef\xbb\xbfFirst line.\r\n\n   \n  Zwei: \xc3\xa4\xe2\x82\xac \nbad \xff line\nlast"
    )
    inputs = open_inputs(path)
    assert inputs.kind == "text"
    assert [name for name, _ in entries(inputs)] == ["line:1", "line:4", "line:5", "line:6"]
    assert reasons(inputs) == {"line:5": "byte 0xff at 4 is not UTF-8"}
    assert [inputs.load(i).text for i in (0, 1, 3)] == ["First line.", "Zwei: ä€", "last"]
    first = inputs.record["digest"]
    path.write_bytes(path.read_bytes().replace(b"First", b"Other"))
    assert open_inputs(path).record["digest"] != first


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\n \n", "holds no text"), ("Hello".encode("utf-16"), "is UTF-16, UTF-8 is required")],
)
def test_a_text_file_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_inputs(tmp_path / "a.txt")


CSV = (
    b"\xef\xbb\xbfkind,sentence,n\r\n"
    b'good,"Two lines,\r\n""quoted"".",1\r\n'
    b"bad,too,many,fields\n"
    b"\n"
    b"good,,3\n"
    b"odd,\xff,4\n"
    b'bad,"It rains.",5'
)


def test_csv_fields_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(CSV)
    inputs = open_inputs(f"csv:{path}?text=sentence&label=kind&columns=n")
    assert entries(inputs) == [
        ("line:2", "good"),
        ("line:4", None),
        ("line:6", "good"),
        ("line:7", "odd"),
        ("line:8", "bad"),
    ]
    assert inputs.column_names == ("n",)
    assert [inputs.entry(i).columns for i in range(5)] == [
        {"n": n} for n in ("1", "", "3", "", "5")
    ]
    assert reasons(inputs) == {
        "line:4": "4 fields, the header has 3",
        "line:6": "its field 'sentence' is empty",
        "line:7": "byte 0xff at 4 is not UTF-8",
    }
    assert inputs.load(0).text == 'Two lines,\r\n"quoted".'
    same = open_inputs(path, text="sentence", label="kind", columns=["n"])
    assert entries(same) == entries(inputs)
    assert same.record["options"] == {"text": "sentence", "label": "kind", "columns": ["n"]}


def test_csv_defaults_and_tabs(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\nOne.,b\nTwo.,a\nThree.,\n")
    inputs = open_inputs(tmp_path / "a.csv")
    assert entries(inputs) == [("line:2", "b"), ("line:3", "a"), ("line:4", None)]
    (tmp_path / "a.tsv").write_text("text\nOne, two.\n")
    inputs = open_inputs(tmp_path / "a.tsv")
    assert texts(inputs) == ["One, two."]
    assert inputs.class_names == []


def test_a_row_that_is_no_csv(tmp_path):
    huge = "x" * 200_000
    (tmp_path / "a.csv").write_text(f'text\nfine\n"{huge}"\nalso fine\n')
    inputs = open_inputs(tmp_path / "a.csv")
    assert reasons(inputs) == {"line:3": "no CSV: field larger than field limit (131072)"}
    assert [inputs.load(i).text for i in (0, 2)] == ["fine", "also fine"]


def test_fields_that_are_not_there(tmp_path):
    (tmp_path / "a.csv").write_text("sentences,kind\nOne.,b\n")
    (tmp_path / "a.jsonl").write_text('{"sentences": "One."}\n')
    (tmp_path / "b.csv").write_text("\n")
    with pytest.raises(ParameterError, match=r"no field 'sentence', .* mean 'sentences'"):
        open_inputs(tmp_path / "a.csv", text="sentence")
    with pytest.raises(ParameterError, match="no field 'class'"):
        open_inputs(tmp_path / "a.csv", text="sentences", label="class")
    with pytest.raises(ParameterError, match="no field 'text', only 'sentences'"):
        open_inputs(tmp_path / "a.jsonl")
    with pytest.raises(DataError, match="has no header"):
        open_inputs(tmp_path / "b.csv")


def test_jsonl(tmp_path):
    lines = [
        '{"text": "Grün.", "label": 10, "n": [1]}',
        "",
        '{"text": "Blau.", "label": 9}',
        "{not json",
        '["a list"]',
        '{"label": 9}',
        '{"text": 5}',
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff"}\n')
    inputs = open_inputs(path, columns=["n"])
    assert inputs.class_names == ["9", "10"]
    assert entries(inputs)[:3] == [("line:1", "10"), ("line:3", "9"), ("line:4", None)]
    found = reasons(inputs)
    assert found.pop("line:4").startswith("no JSON: Expecting property name")
    assert found == {
        "line:5": "a JSON object is required, got list",
        "line:6": "its field 'text' holds no text",
        "line:7": "its field 'text' holds no text",
        "line:8": "byte 0xff at 10 is not UTF-8",
    }
    assert [inputs.entry(i).columns["n"] for i in (0, 1, 2)] == [[1], "", ""]


CONLLU = """\
# newdoc
# sent_id = fr-1
# text = Le chat du voisin ne dort pas.
1\tLe\tle\tDET\t_\t_\t2\tdet\t_\t_
2\tchat\tchat\tNOUN\t_\t_\t7\tnsubj\t_\t_
3-4\tdu\t_\t_\t_\t_\t_\t_\t_\t_
3\tde\tde\tADP\t_\t_\t5\tcase\t_\t_
4\tle\tle\tDET\t_\t_\t5\tdet\t_\t_
5\tvoisin\tvoisin\tNOUN\t_\t_\t2\tnmod\t_\t_
6\tne\tne\tADV\t_\t_\t7\tadvmod\t_\t_
7\tdort\tdormir\tVERB\t_\t_\t0\troot\t_\t_
7.1\tdort\tdormir\tVERB\t_\t_\t_\t_\t_\t_
8\tpas\tpas\tADV\t_\t_\t7\tadvmod\t_\tSpaceAfter=No
9\t.\t.\tPUNCT\t_\t_\t7\tpunct\t_\t_


# a sentence without its text
1-2\tdon't\t_\t_\t_\t_\t_\t_\t_\tSpaceAfter=No|X=1
1\tdo\tdo\tAUX\t_\t_\t0\troot\t_\t_
2\tn't\tnot\tPART\t_\t_\t1\tadvmod\t_\t_
3\t!\t!\tPUNCT\t_\t_\t1\tpunct\t_\t_

# only a comment

1\tthree\tfields

# text = one two
1\tone\t_\tX\t_\t_\t0\troot\t_\t_
2\tthree\t_\tX\t_\t_\t1\tdep\t_\t_

1\tone\t_\tX\t_\t_\t0\troot\t_\t_
3\tthree\t_\tX\t_\t_\t1\tdep\t_\t_

1-3\tone\t_\tX\t_\t_\t0\troot\t_\t_
1\tthree\t_\tX\t_\t_\t1\tdep\t_\t_
"""


@pytest.fixture
def conllu(tmp_path):
    (tmp_path / "a.conllu").write_bytes(CONLLU.encode() + b"\n1\t\xff\t_\tX\t_\t_\t0\troot\t_\t_\n")
    return open_inputs(tmp_path / "a.conllu")


def test_conllu_words(conllu):
    assert [name for name, _ in entries(conllu)] == [
        *("line:1", "line:17", "line:25", "line:27", "line:31", "line:34", "line:37")
    ]
    assert [conllu.entry(i).columns["sent_id"] for i in (0, 1, 6)] == ["fr-1", "", ""]
    record = conllu.load(0)
    assert record.words == ["Le", "chat", "du", "voisin", "ne", "dort", "pas", "."]
    assert [record.text[start:end] for start, end in record.spans] == record.words
    assert record.columns["id"] == ["1", "2", "3-4", "5", "6", "7", "8", "9"]
    assert record.columns["upos"][:4] == ["DET", "NOUN", "ADP+DET", "NOUN"]
    assert record.columns["lemma"][2:6] == ["de+le", "voisin", "ne", "dormir"]
    assert record.columns["deprel"][2] == "case+det"
    assert record.columns["head"][2] == "5+5"
    joined = conllu.load(1)
    assert joined.text == "don't!"
    assert joined.spans == [(0, 5), (5, 6)]


def test_conllu_that_is_none(conllu):
    found = reasons(conllu)
    assert list(found) == ["line:25", "line:27", "line:31", "line:34", "line:37"]
    assert "3 fields in a line, 10 are required" in found["line:25"]
    assert "word 2 'three' does not follow 'one' in text" in found["line:27"]
    assert "word number 3 follows 1" in found["line:31"]
    assert "the words end at 1, 3 were announced" in found["line:34"]
    assert found["line:37"] == "byte 0xff at 2 is not UTF-8"


def test_the_descriptions_are_english_sentences():
    inputs = open_inputs("sklearn:descriptions")
    found = texts(inputs)
    assert len(found) > 80
    assert "iris" in inputs.class_names
    assert inputs.entry(0).id == f"{inputs.class_names[0]}:1"
    assert len({inputs.entry(i).id for i in range(len(inputs))}) == len(inputs)
    text = " ".join(found)
    assert not any(sign in text for sign in ("::", "``", "===", ">>>", ":func:", "]_", "`_", "  "))
    assert all(sentence.endswith((".", "!", "?")) for sentence in found)
    assert sum(" the " in sentence.lower() for sentence in found) > len(found) / 3


# --- specs


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("nothing/here", {}, "nothing/here: not found. Inputs are a folder of images"),
        ("skimge:photos", {}, "did you mean skimage:"),
        ("skimage:cats", {}, "skimage: must be followed by photos, got 'cats'"),
        ("sklearn:iris", {}, "digits or descriptions, got 'iris'"),
        ("skimage:photos", {"label": "x"}, "skimage: has no option label; it has none"),
        ("csv:a.csv?txt=b", {}, "csv: has no option txt; it has text, label, columns"),
        ("csv:a.csv?text=b", {"text": "c"}, "text stands in .* and beside it; give it once"),
        ("skimage:photos", {"n_inputs": 0}, "n_inputs must be at least 1, got 0"),
        ([], {}, "at least one; got list"),
        (5, {}, "a data set with a length .*; got int"),
        ([("a", 1)], {"text": "x"}, "a data set takes none of text"),
    ],
)
def test_specs_that_cannot_be_opened(spec, options, message):
    with pytest.raises(ParameterError, match=message):
        open_inputs(spec, **options)


@pytest.mark.parametrize("spec", ["list:no", "txt:no", "csv:no", "folder:no", "conllu:no"])
def test_what_is_not_there(spec, tmp_path):
    kind, _, name = spec.partition(":")
    with pytest.raises(StoreError, match="failed: No such file"):
        open_inputs(f"{kind}:{tmp_path / name}")


def test_a_file_of_an_unknown_ending(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"")
    with pytest.raises(ParameterError, match="is there, but not of a kind known"):
        open_inputs(tmp_path / "a.parquet")


def test_some_inputs_by_seed():
    some = open_inputs("sklearn:digits", n_inputs=20, seed=1)
    names = [name for name, _ in entries(some)]
    assert len(names) == len(some) == 20
    assert names == sorted(names, key=lambda name: int(name.split(":")[1]))
    assert some.class_names == [str(digit) for digit in range(10)]
    assert entries(open_inputs("sklearn:digits", n_inputs=20, seed=1)) == entries(some)
    other = open_inputs("sklearn:digits", n_inputs=20, seed=2)
    assert other.record["digest"] != some.record["digest"]
    assert (some.record["number"], some.record["of"]) == (20, 1797)
    assert np.asarray(some.load(3)).shape == (8, 8, 3)
    assert len(open_inputs("skimage:photos", n_inputs=50)) == 11


def test_every_source_goes_into_a_worker(tmp_path, conllu):
    write(tmp_path / "tree", {"a/1.png": plain(), "b/2.png": b"broken"})
    write_tar(tmp_path / "a.tar", {"1.png": plain()})
    (tmp_path / "a.csv").write_text("text\nOne.\n")
    (tmp_path / "a.jsonl").write_text('{"text": "One."}\n')
    (tmp_path / "a.txt").write_text("One.\n")
    paths = [tmp_path / name for name in ("tree", "a.tar", "a.csv", "a.jsonl", "a.txt")]
    named = ["skimage:photos", "sklearn:digits", "sklearn:descriptions", [("One.", 1)]]
    for inputs in [*map(open_inputs, [*paths, *named]), conllu]:
        copy = pickle.loads(pickle.dumps(inputs))
        assert entries(copy) == entries(inputs)
        assert copy.load(0) == inputs.load(0)
        assert copy.record == inputs.record
        json.dumps(inputs.record)


def test_an_unreadable_input_comes_back_from_a_worker():
    error = pickle.loads(pickle.dumps(UnreadableInput("a.png", "empty")))
    assert (error.id, error.reason) == ("a.png", "empty")
    assert str(error) == "input a.png is unreadable: empty; repair it or leave it out"
    assert isinstance(error, TopoactError)


# --- the parts below


def test_packed_strings():
    strings = [b"a", b"", b"\xff\x00b"]
    packed = PackedStrings(strings)
    assert [packed[i] for i in range(len(packed))] == strings
    assert packed.text(2) == "\\xff\x00b"
    for i in (-1, 3):
        with pytest.raises(IndexError):
            packed[i]


def test_a_long_list_is_small_in_memory():
    names = PackedStrings(f"n{i // 1000:08d}/{i:08d}.JPEG".encode() for i in range(20_000))
    inputs = ImageFiles(Path(), names, [None] * 20_000)
    assert len(pickle.dumps(inputs)) < 20_000 * 40


def test_labels_are_sorted_by_value_where_they_are_numbers():
    assert number_labels(["b", None, "10", "9"])[0] == ["10", "9", "b"]
    names, ids = number_labels(["10", "-1", None, "10"])
    assert (names, ids.tolist(), ids.dtype) == (["-1", "10"], [1, 0, -1, 1], np.dtype(np.int32))
    assert number_labels([None])[0] == []


def test_fingerprints_tell_parts_apart():
    assert fingerprint("ab", "c") != fingerprint("a", "bc") != fingerprint("abc")
    assert fingerprint("a") == fingerprint(b"a")

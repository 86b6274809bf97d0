"""`load`: splits, roots, class trees, the cache, MedMNIST files, and downloads from a bad server on this machine."""

import hashlib
import http.server
import io
import os
import pickle
import tarfile
import threading
import time
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from course_utils import datasets
from course_utils.datasets import DatasetUnavailable, cifar, folder, load, medical, names, storage


def needs(file):
    """Skips a test where no folder of COURSE_DATA holds `file`; nothing is downloaded for a test."""
    places = [place for place in os.environ.get("COURSE_DATA", "").split(os.pathsep) if place]
    return pytest.mark.skipif(not any(os.path.exists(os.path.join(place, file)) for place in places),
                              reason=f"no {file} in COURSE_DATA" if places else "COURSE_DATA is not set")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A root with nothing in it, and downloads and caches that go to the temporary folder too."""
    (tmp_path / "root").mkdir()
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(storage, "DOWNLOADS", tmp_path / "downloads")
    monkeypatch.setattr(storage, "user_cache", lambda: tmp_path / "user")
    return tmp_path / "root"


def picture(value, shape=(8, 8)):
    pixels = np.random.default_rng(value).integers(0, 256, (*shape, 3), dtype=np.uint8)
    pixels[0, 0] = value  # tells the pictures apart
    return Image.fromarray(pixels)


def tree(place, splits=("train", "test"), classes=("ant", "bee"), each=10, **options):
    """A class tree of PNG files whose first pixel counts upwards through the set."""
    value = 0
    for split in splits:
        for label in classes:
            (place / split / label).mkdir(parents=True)
            for i in range(each):
                picture(value := value + 1, **options).save(place / split / label / f"{i:03}.png")
    return place


def zipped(place, target, top=""):
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(place.rglob("*")):
            archive.write(file, f"{top}{file.relative_to(place).as_posix()}")
    return target


def marks(data):
    return sorted(data.images[:, 0, 0, 0].tolist())


# --- splits and arguments ---------------------------------------------------------------------------------------

def test_val_is_a_fixed_balanced_tenth_that_train_leaves_out(root):
    tree(root / "bugs", each=30)
    train, val, both = (load("bugs", split, seed=5) for split in ("train", "val", "train+val"))
    assert (len(train), len(val), len(both)) == (54, 6, 60) and val.labels.bincount().tolist() == [3, 3]
    assert sorted(marks(train) + marks(val)) == marks(both) == list(range(1, 61))
    assert marks(load("bugs", "val", seed=99)) == marks(val)
    assert not set(marks(load("bugs", "test"))) & set(marks(both))


def test_a_val_folder_is_used_as_it_is(root):
    tree(root / "bugs", splits=("train", "val", "test"), each=4)
    assert [len(load("bugs", split)) for split in datasets.SPLITS] == [8, 8, 8, 16]


def test_limit_is_balanced_seeded_and_comes_before_nothing_else(root):
    tree(root / "bugs", each=30)
    few = load("bugs", limit=11, seed=1)
    assert sorted(few.labels.bincount().tolist()) == [5, 6] and marks(few) == marks(load("bugs", limit=11, seed=1))
    assert marks(few) != marks(load("bugs", limit=11, seed=2)) and set(marks(few)) < set(marks(load("bugs")))
    assert len(load("bugs", limit=10_000)) == 54


def test_pixels_labels_and_classes_belong_together(root):
    tree(root / "bugs", classes=("wasp", "ant", "bee"), each=6)
    data = load("bugs", "train+val")
    assert data.classes == ("ant", "bee", "wasp") and data.images.shape == (18, 3, 8, 8) and "bugs" in data.source
    for image, label in zip(data.images, data.labels.tolist(), strict=True):  # wasp was written first: 1 to 6
        value = int(image[0, 0, 0])
        assert data.classes[label] == ("wasp", "ant", "bee")[(value - 1) // 6]
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(picture(value)))
    assert len(data[:6].labels.unique()) > 1  # a slice is not one class


@pytest.mark.parametrize("arguments", [{"split": "dev"}, {"limit": 0}, {"limit": 1.5}, {"size": 0}, {"size": "big"}])
def test_bad_arguments_name_themselves(root, arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        load("scenes", **arguments)


@pytest.mark.parametrize("name", ["", ".", "..", "../up", "a/b", "a\\b", ".hidden", "c:x", None])
def test_a_name_is_no_path(root, name):
    with pytest.raises(ValueError, match="no data set name"):
        load(name)


def test_unknown_name_lists_the_known_ones(root):
    tree(root / "bugs", each=1)
    with pytest.raises(ValueError, match="(?s)'bogs'.*scenes.*cifar10.*bugs"):
        load("bogs")


def test_names_are_the_built_in_ones_and_what_the_roots_hold(root):
    tree(root / "bugs", each=1)
    zipped(root / "bugs", root / "birds.zip")
    (root / "notes").mkdir()
    (root / "x.txt").write_text("no set")
    assert names() == ["scenes", "fundus", "cifar10", "pneumoniamnist", "retinamnist", "chestmnist", "birds", "bugs"]


# --- roots ------------------------------------------------------------------------------------------------------

def test_roots_are_searched_in_order(root, tmp_path, monkeypatch):
    tree(tmp_path / "second" / "bugs", each=3)
    tree(root / "bugs", each=5)
    monkeypatch.setenv("COURSE_DATA", os.pathsep.join([str(root), str(tmp_path / "second")]))
    assert len(load("bugs", "test")) == 10
    monkeypatch.setenv("COURSE_DATA", os.pathsep.join([str(tmp_path / "second"), str(root)]))
    assert len(load("bugs", "test")) == 6


@pytest.mark.parametrize(("value", "message"), [("data", "not an absolute path"), ("/no/such/place", "/no/such/place")])
def test_a_root_that_is_relative_or_missing_is_an_error(root, monkeypatch, value, message):
    monkeypatch.setenv("COURSE_DATA", os.pathsep.join([str(root), value]))
    for call in (names, lambda: load("cifar10")):
        with pytest.raises(ValueError, match=message):
            call()


# --- class trees: odd and broken ones -----------------------------------------------------------------------------

def test_odd_image_modes_become_rgb_and_other_files_are_ignored(root):
    place = tree(root / "bugs", each=2)
    train = place / "train" / "ant"
    picture(50).convert("L").save(train / "grey.png")
    picture(51).convert("P").save(train / "palette.png")
    picture(52).convert("P").save(train / "clear.png", transparency=b"\x00\x80")
    picture(53).convert("RGBA").save(train / "alpha.PNG")
    picture(54).convert("CMYK").save(train / "print.JPG")
    picture(55).convert("1").save(train / "line.png")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(train / "deep.png")
    for junk in ("Thumbs.db", ".DS_Store", "notes.txt", "._000.png"):
        (train / junk).write_bytes(b"junk")
    (place / "README.png").write_bytes(b"not in a split")
    data = load("bugs", "train+val")
    assert len(data) == 11 and data.images.shape[1:] == (3, 8, 8)
    assert (data.images == 40_000 >> 8).flatten(1).all(1).sum() == 1
    grey = torch.from_numpy(np.array(picture(50).convert("L")))
    assert (data.images == grey).flatten(1).all(1).sum() == 1


def test_exif_rotation_is_undone(root):
    place = tree(root / "bugs", each=1, shape=(8, 8))
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: show it rotated by 270 degrees
    image = picture(90)
    image.save(place / "test" / "ant" / "000.png", exif=exif)
    data = load("bugs", "test")
    upright = torch.from_numpy(np.asarray(image.transpose(Image.Transpose.ROTATE_270)).copy()).permute(2, 0, 1)
    assert torch.equal(data[data.labels == 0].images[0], upright)


@pytest.mark.parametrize("content", [b"", b"not an image", "cut"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_image_is_named(root, content, packed):
    place = tree(root / "bugs", each=3)
    bad = place / "train" / "bee" / "bad.png"
    if content == "cut":
        picture(9, (64, 64)).save(bad)
        content = bad.read_bytes()[:2000]
    bad.write_bytes(content)
    if packed:
        zipped(place, root / "packed.zip", "packed/")
    for _ in range(2):  # and nothing of it is cached
        with pytest.raises(ValueError, match=r"train/bee/bad\.png cannot be read"):
            load("packed" if packed else "bugs")


def faults():
    def empty_class(place):
        (place / "train" / "cat").mkdir()
        (place / "test" / "cat").mkdir()

    def only_junk(place):
        for file in (place / "train" / "bee").iterdir():
            file.rename(file.with_suffix(".txt"))

    def one_class(place):
        for split in ("train", "test"):
            for file in (place / split / "bee").iterdir():
                file.unlink()
            (place / split / "bee").rmdir()

    def other_classes(place):
        (place / "test" / "bee").rename(place / "test" / "wasp")

    def loose_file(place):
        picture(1).save(place / "train" / "loose.png")

    return [(empty_class, "cat holds no image"), (only_junk, "train/bee holds no image"), (loose_file, "loose.png"),
            (one_class, "only one class, 'ant'"), (other_classes, "different classes: bee, wasp")]


@pytest.mark.parametrize(("spoil", "message"), faults())
@pytest.mark.parametrize("packed", [False, True])
def test_an_unsound_tree_is_explained(root, spoil, message, packed):
    place = tree(root / "bugs", each=2)
    spoil(place)
    if packed:
        zipped(place, root / "packed.zip")
    with pytest.raises(ValueError, match=message):
        load("packed" if packed else "bugs")


def test_mixed_sizes_need_a_size(root):
    place = tree(root / "bugs", each=3)
    picture(77, (12, 30)).save(place / "train" / "ant" / "wide.png")
    with pytest.raises(ValueError, match=r"differ in size.*size="):
        load("bugs", "train+val")
    data = load("bugs", "train+val", size=8)
    assert data.images.shape == (7, 3, 8, 8)
    assert torch.equal(load("bugs", "train+val", size=8).images, data.images)  # from the cache
    assert load("bugs", "train+val", size=5).images.shape == (7, 3, 5, 5)


def test_big_photographs_are_decoded_in_threads_and_errors_come_through(root):
    place = tree(root / "photos", each=2, shape=(200, 200))
    assert load("photos", "train+val").images.shape == (4, 3, 200, 200)
    (place / "train" / "bee" / "001.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match="001.png"):
        load("photos")


def test_a_set_without_test_folder_or_with_too_few_images_says_so(root):
    tree(root / "bugs", splits=("train",), each=1)
    assert len(load("bugs")) == 2
    for split, message in (("test", "no test folder"), ("val", "too small")):
        with pytest.raises(ValueError, match=message):
            load("bugs", split)


# --- zip files ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("top", ["", "packed/", "other/"])
def test_a_zip_file_reads_like_its_folder(root, top):
    place = tree(root / "bugs", each=5)
    zipped(place, root / "packed.zip", top)
    with zipfile.ZipFile(root / "packed.zip", "a") as archive:
        archive.writestr("__MACOSX/train/ant/._000.png", b"junk")
    assert torch.equal(load("packed").images, load("bugs").images)


@pytest.mark.parametrize("member", ["../../e.png", "/etc/e.png", "train/../../e.png", "C:/e.png", "..\\e.png"])
def test_a_zip_file_that_leads_out_is_refused(root, member):
    zipped(tree(root / "bugs", each=1), root / "packed.zip")
    with zipfile.ZipFile(root / "packed.zip", "a") as archive:
        archive.writestr(member, b"x")
    with pytest.raises(ValueError, match="leads out of the archive"):
        load("packed")


def test_two_trees_in_one_zip_file_are_refused(root):
    place = tree(root / "bugs", each=1)
    zipped(place, root / "packed.zip", "a/")
    with zipfile.ZipFile(root / "packed.zip", "a") as archive:
        archive.write(place / "train" / "ant" / "000.png", "b/train/ant/000.png")
    with pytest.raises(ValueError, match="more than one class tree: a, b"):
        load("packed")


@pytest.mark.parametrize("content", [b"", b"no zip", "cut"])
def test_a_broken_zip_file_is_named_and_left_alone(root, content):
    whole = zipped(tree(root / "bugs", each=2), root / "packed.zip").read_bytes()
    content = whole[:len(whole) // 2] if content == "cut" else content
    (root / "packed.zip").write_bytes(content)
    with pytest.raises(ValueError, match="packed.zip"):
        load("packed")
    assert (root / "packed.zip").read_bytes() == content


# --- the cache ----------------------------------------------------------------------------------------------------

def cache_files(root):
    return sorted((root.parent / "downloads" / "cache").glob("*"))


def test_the_second_load_decodes_nothing(root, monkeypatch):
    tree(root / "bugs", each=5)
    first = load("bugs")
    monkeypatch.setattr(folder, "decode_image", lambda encoded: pytest.fail("decoded again"))
    again = load("bugs")
    assert torch.equal(first.images, again.images) and torch.equal(first.labels, again.labels)
    assert (first.classes, first.source) == (again.classes, again.source)
    assert all(file.suffix == ".npz" for file in cache_files(root))


def test_a_changed_archive_is_decoded_again_and_the_old_arrays_go(root):
    place = tree(root / "bugs", each=5)
    assert len(load("bugs", "test")) == 10
    picture(99).save(place / "test" / "ant" / "more.png")
    assert len(load("bugs", "test")) == 11 and len(cache_files(root)) == 1


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 nonsense", "pickle"])
def test_a_damaged_cache_is_decoded_again(root, damage):
    tree(root / "bugs", each=5)
    expected = load("bugs", "test")
    if damage == "pickle":  # an object array is never unpickled
        buffer = io.BytesIO()
        np.savez(buffer, images=np.array([{}], dtype=object))
        damage = buffer.getvalue()
    cache_files(root)[0].write_bytes(damage)
    assert torch.equal(load("bugs", "test").images, expected.images)


def test_a_read_only_data_folder_loses_only_the_cache(root, capfd, monkeypatch):
    tree(root / "bugs", each=5)
    (root.parent / "downloads").write_text("a file, so that no folder can be made here, not even by root")
    assert len(load("bugs", "test")) == 10  # the user's cache folder steps in
    assert list((root.parent / "user" / "cache").glob("bugs-*-test.npz")) and not capfd.readouterr().err
    monkeypatch.setattr(storage, "user_cache", lambda: root.parent / "downloads" / "user")
    for _ in range(2):
        assert len(load("bugs", "test")) == 10
        assert capfd.readouterr().err.count("\n") == 1


def test_a_failed_write_leaves_nothing_behind(root, monkeypatch, capfd):
    tree(root / "bugs", each=5)
    monkeypatch.setattr(np, "savez", lambda file, **arrays: (_ for _ in ()).throw(OSError("disk full")))
    assert len(load("bugs", "test")) == 10 and "not cached" in capfd.readouterr().err
    assert cache_files(root) == []


def test_two_notebooks_may_decode_at_once(root):
    tree(root / "bugs", each=20)
    results = []
    threads = [threading.Thread(target=lambda: results.append(load("bugs", "train+val"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4 and all(torch.equal(r.images, results[0].images) for r in results)
    assert [file.suffix for file in cache_files(root)] == [".npz", ".npz"]  # train, and that there is no val


# --- CIFAR-10 -----------------------------------------------------------------------------------------------------

@pytest.fixture
def official(tmp_path, monkeypatch):
    """A small archive laid out as the official one, whose checksums stand in for the published ones."""
    from torchvision.datasets import CIFAR10

    made, rng = tmp_path / "made", np.random.default_rng(0)
    (made / "cifar-10-batches-py").mkdir(parents=True)

    def write(name, content):
        data = pickle.dumps(content)
        (made / "cifar-10-batches-py" / name).write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def batch(n):
        return {"data": rng.integers(0, 256, (n, 3072), dtype=np.uint8), "labels": [i % 10 for i in range(n)]}

    sums = {name: write(name, batch(20)) for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]}
    meta = write("batches.meta", {"label_names": list(cifar.CLASSES)})
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in sums if name != "test_batch"])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": meta})
    archive = tmp_path / cifar.ARCHIVE
    with tarfile.open(archive, "w:gz") as file:
        file.add(made / "cifar-10-batches-py", "cifar-10-batches-py")
    monkeypatch.setattr(cifar, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


@pytest.mark.parametrize("packed", [True, False])
def test_the_official_archive_is_read_in_its_own_order(root, official, packed):
    if packed:
        (root / cifar.ARCHIVE).write_bytes(official.read_bytes())
    else:
        (official.parent / "made" / "cifar-10-batches-py").rename(root / "cifar-10-batches-py")
    data = load("cifar10", "train+val", download=False)
    assert data.images.shape == (100, 3, 32, 32) and data.labels[:20].tolist() == [i % 10 for i in range(20)]
    first = np.random.default_rng(0).integers(0, 256, (20, 3072), dtype=np.uint8)[0].reshape(3, 32, 32)
    assert np.array_equal(data.images[0].numpy(), first) and "official" in data.source
    assert [len(load("cifar10", split, download=False)) for split in datasets.SPLITS] == [90, 10, 20, 100]


def test_a_class_tree_called_cifar10_must_have_the_ten_classes(root):
    tree(root / "cifar10", each=1, classes=cifar.CLASSES)
    assert load("cifar10", "test").source == "CIFAR-10 (PNG copy), cifar10"
    tree(root / "c", each=1)
    zipped(root / "c", root / "cifar10.zip")
    with pytest.raises(ValueError, match="no copy of CIFAR-10"):
        load("cifar10")


def test_a_jpeg_copy_says_that_it_is_one(root):
    place = tree(root / "cifar10", each=1, classes=cifar.CLASSES)
    for file in place.rglob("*.png"):
        Image.open(file).save(file.with_suffix(".jpg"))
        file.unlink()
    assert "CIFAR-10 (JPEG copy)" in load("cifar10", "test").source


def test_without_files_and_download_the_error_says_what_was_tried_and_what_to_do(root):
    for name, embedded in (("cifar10", "scenes"), ("retinamnist", "fundus")):
        with pytest.raises(DatasetUnavailable) as caught:
            load(name, download=False)
        message = str(caught.value)
        assert str(root) in message and "COURSE_DATA" in message and embedded in message and "put " in message


# --- downloads from a server on this machine that misbehaves ----------------------------------------------------

@pytest.fixture
def server():
    """`add(path, body, length=None, status=200, stall=0) -> url` on a loopback server; `add.asked` lists requests."""
    pages, asked, closing = {}, [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body, length, status, stall = pages.get(self.path, (b"gone", None, 404, 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body) if length is None else length))
            self.end_headers()
            self.wfile.write(body)
            closing.wait(stall)

        def log_message(self, *arguments):
            pass

    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def add(path, body=b"", length=None, status=200, stall=0):
        pages[path] = (body, length, status, stall)
        return f"http://127.0.0.1:{http_server.server_port}{path}"

    add.asked = asked
    yield add
    closing.set()
    http_server.shutdown()
    http_server.server_close()
    thread.join()


def test_mirrors_are_tried_in_turn_until_the_checksum_holds(root, server, official, monkeypatch):
    good = official.read_bytes()
    monkeypatch.setattr(storage, "TIMEOUT", (1, 0.3))
    monkeypatch.setattr(cifar, "MIRRORS", [
        server("/gone", status=404), server("/error", b"oops", status=500), server("/cut", good[:100], len(good)),
        server("/wrong", b"<html>please log in</html>"), server("/stalls", good[:50], len(good), stall=5),
        "http://127.0.0.1:9/refused", server("/good", good), server("/never", good)])
    started = time.monotonic()
    assert load("cifar10", "test").images.shape == (20, 3, 32, 32)
    assert server.asked == ["/gone", "/error", "/cut", "/wrong", "/stalls", "/good"]
    assert time.monotonic() - started < 10
    kept = root.parent / "downloads" / cifar.ARCHIVE
    assert kept.read_bytes() == good and list(kept.parent.glob("tmp*")) == []
    load("cifar10", "train")  # nothing is fetched twice
    assert len(server.asked) == 6


def test_when_every_mirror_fails_each_is_named_with_the_checksum(root, server, official, monkeypatch):
    monkeypatch.setattr(cifar, "MIRRORS", [server("/gone", status=404), server("/cut", official.read_bytes()[:-1])])
    with pytest.raises(DatasetUnavailable) as caught:
        load("cifar10")
    message = str(caught.value)
    assert "/gone" in message and "404" in message and "/cut" in message and cifar.MD5 in message
    assert list((root.parent / "downloads").iterdir()) == []  # nothing bad is kept


def test_a_truncated_earlier_download_is_replaced_but_a_file_of_the_user_is_not(root, server, official, monkeypatch):
    good, own = official.read_bytes(), root.parent / "downloads" / cifar.ARCHIVE
    own.parent.mkdir()
    for file in (own, root / cifar.ARCHIVE):
        file.write_bytes(good[:-7])
    with pytest.raises(DatasetUnavailable, match=hashlib.md5(good[:-7]).hexdigest()):
        load("cifar10", "test", download=False)
    assert own.exists()
    monkeypatch.setattr(cifar, "MIRRORS", [server("/good", good)])
    assert len(load("cifar10", "test")) == 20
    assert own.read_bytes() == good and (root / cifar.ARCHIVE).read_bytes() == good[:-7]


def test_a_failed_download_keeps_the_good_files(root, server, monkeypatch):
    keep = root.parent / "downloads" / "retinamnist.npz"
    medmnist_file(keep, "retinamnist")
    monkeypatch.setattr(cifar, "MIRRORS", [server("/gone", status=404)])
    before = keep.read_bytes()
    with pytest.raises(DatasetUnavailable):
        load("cifar10")
    assert keep.read_bytes() == before and load("retinamnist").images.shape[1:] == (3, 28, 28)


# --- MedMNIST -----------------------------------------------------------------------------------------------------

def medmnist_file(path, name, n=30, **changes):
    rng, shape = np.random.default_rng(0), (28, 28, 3) if name == "retinamnist" else (28, 28)
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
        arrays[f"{split}_labels"] = (rng.integers(0, 2, (n, 14)) if name == "chestmnist"
                                     else np.arange(n)[:, None] % 2).astype(np.uint8)
    path.parent.mkdir(exist_ok=True)
    np.savez_compressed(path, **{**arrays, **changes})
    return arrays


@pytest.mark.parametrize("name", ["pneumoniamnist", "retinamnist", "chestmnist"])
def test_medmnist_files_become_three_channels_and_flat_labels(root, name):
    arrays = medmnist_file(root / f"{name}.npz", name)
    data = load(name, "val", download=False)
    images, labels = arrays["val_images"], arrays["val_labels"]
    images = images.transpose(0, 3, 1, 2) if name == "retinamnist" else np.stack([images] * 3, 1)
    assert np.array_equal(data.images.numpy(), images) and "subset" in data.source
    assert data.labels.dtype == (torch.float32 if name == "chestmnist" else torch.int64)
    assert np.array_equal(data.labels.numpy(), labels if name == "chestmnist" else labels[:, 0])
    assert len(load(name, "train+val", limit=7, size=32)) == 7
    assert len(data.classes) == {"pneumoniamnist": 2, "retinamnist": 5, "chestmnist": 14}[name]


def test_the_lectures_five_pathologies_come_out_of_chestmnists_fourteen(root):
    arrays = medmnist_file(root / "chestmnist.npz", "chestmnist")
    five = medical.lecture_pathologies(load("chestmnist", "val"))
    assert five.classes == ("atelectasis", "cardiomegaly", "consolidation", "edema", "effusion")
    assert np.array_equal(five.labels.numpy(), arrays["val_labels"][:, [0, 1, 8, 9, 2]])  # medmnist's own order


def test_medmnist_is_downloaded_with_its_checksum(root, server, monkeypatch):
    import medmnist

    medmnist_file(root.parent / "made.npz", "pneumoniamnist")
    good = (root.parent / "made.npz").read_bytes()
    info = {**medmnist.INFO["pneumoniamnist"], "url": server("/p.npz", good), "MD5": hashlib.md5(good).hexdigest()}
    monkeypatch.setitem(medmnist.INFO, "pneumoniamnist", info)
    own = root.parent / "downloads" / "pneumoniamnist.npz"
    own.parent.mkdir()
    own.write_bytes(good[:200])  # cut short the last time
    assert "official file" in load("pneumoniamnist").source and own.read_bytes() == good
    own.unlink()
    server("/p.npz", good + b"altered")
    with pytest.raises(DatasetUnavailable, match=info["MD5"]):
        load("pneumoniamnist")
    assert not own.exists()


@pytest.mark.parametrize("fault", ["cut", "text", "missing", "mismatch", "label", "pickle"])
def test_a_broken_medmnist_file_is_named_and_left_alone(root, fault):
    path = root / "pneumoniamnist.npz"
    labels = {"mismatch": np.zeros((29, 1), np.uint8), "label": np.full((30, 1), 9),
              "pickle": np.array([[None]] * 30, dtype=object)}
    medmnist_file(path, "pneumoniamnist", **({"train_labels": labels[fault]} if fault in labels else {}))
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    if fault == "text":
        path.write_text("this is a web page")
    if fault == "missing":
        np.savez(path, something=np.zeros(3))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="pneumoniamnist.npz"):
        load("pneumoniamnist")
    assert path.read_bytes() == before


# --- synthetic sets, and the real ones --------------------------------------------------------------------------------

@pytest.mark.parametrize("name", datasets.GENERATED)
def test_generated_sets_are_the_same_pictures_whatever_the_seed(root, name, monkeypatch):
    calls = []

    def generate(split="train", n=None, size=32, seed=0):
        calls.append((split, n, size, seed))
        images = torch.zeros(20, 3, size, size, dtype=torch.uint8)
        images[:, 0, 0, 0] = torch.arange(20) + 20 * ("train", "val", "test").index(split)
        return datasets.ImageSet(images, torch.arange(20) % 2, ("a", "b"), name, "by code", {"x": torch.arange(20)})

    monkeypatch.setattr(datasets.importlib, "import_module", lambda module: type("Module", (), {"generate": generate}))
    few = load(name, "train+val", limit=10, size=48, seed=7)
    assert few.images.shape == (10, 3, 48, 48) and few.labels.bincount().tolist() == [5, 5]
    assert len(few.factors["x"]) == 10 and set(calls) == {("train", None, 48, 0), ("val", None, 48, 0)}
    assert len(load(name)) == 20 and marks(load(name, "test")) == list(range(40, 60))


@needs("cifar10.zip")
def test_the_real_cifar10_has_its_sizes_and_its_source_line(monkeypatch):
    monkeypatch.setattr(folder, "cache_write", lambda *arguments: None)  # reads the cache, leaves nothing behind
    both, test = load("cifar10", "train+val", download=False), load("cifar10", "test", download=False)
    assert both.images.shape == (50_000, 3, 32, 32) and both.labels.bincount().tolist() == [5_000] * 10
    assert len(test) == 10_000 and test.classes == cifar.CLASSES and "CIFAR-10 (JPEG copy)" in test.source
    held = datasets.held_out(both)
    assert both.labels[held].bincount().tolist() == [500] * 10
    # Blue sky and sea: planes and ships are bluer than red in the mean, frogs and deer are not.
    blue = (both.images[:, 2].float().mean((1, 2)) - both.images[:, 0].float().mean((1, 2)))
    tint = {name: blue[both.labels == label].mean() for label, name in enumerate(both.classes)}
    assert min(tint["airplane"], tint["ship"]) > 0 > max(tint["frog"], tint["deer"])


@needs("pneumoniamnist.npz")
def test_the_real_pneumoniamnist_is_read():
    train = load("pneumoniamnist", "train", download=False)
    assert train.images.shape[1:] == (3, 28, 28) and train.classes == ("normal", "pneumonia")
    assert ("subset" in train.source) == (len(train) != 4_708)
    assert [len(load("pneumoniamnist", split, download=False)) for split in ("val", "test")] == [524, 624]

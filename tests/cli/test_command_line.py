import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from calling import call
from drawn import draw_annotations, draw_pets, draw_voc, encoded, save_mask
from PIL import Image
from skimage import data
from tiny import bright, write_model

from segdemo import zoo
from segdemo.cli import main
from segdemo.core import label_maps, pictures
from segdemo.core.labels import PETS, VOC
from segdemo.data.datasets import read_pair
from segdemo.data.sources import open_dataset
from segdemo.inference.predict import Predictor

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A state root with two models of its own: ``colours`` of Pets and ``scenes`` of VOC."""
    home = tmp_path / "home"
    monkeypatch.setenv("SEGDEMO_HOME", str(home))
    monkeypatch.delenv("SEGDEMO_DATA", raising=False)
    write_model(home / "models" / "colours", "colours", PETS, *bright(3, 0, 1), metrics={"mean_iou": 0.5})
    write_model(home / "models" / "scenes", "scenes", VOC, *bright(21, 8, 0))
    return home


@pytest.fixture
def photos(tmp_path):
    """A cat, an astronaut lying on its side by EXIF, and a photo of one pixel."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(data.chelsea()).save(folder / "cat.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(data.astronaut()[:200, :300]).save(folder / "lying.jpg", exif=exif)
    Image.new("L", (1, 1), 255).save(folder / "dot.png")
    (folder / "notes.txt").write_text("not a photo")
    return folder


def refused(capsys, *arguments):
    """The one line on stderr of a command that must end with 2."""
    code, out, err = call(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("segdemo: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def size_and_palette(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == "P"
        return image.size, image.getpalette()


# --- models ----------------------------------------------------------------------------------------------


def test_models_as_json(capsys):
    code, out, err = call(capsys, "models", "--json")
    assert (code, err) == (0, "")
    listed = json.loads(out)
    served = {model["name"]: model for model in listed["models"]}
    assert served.keys() == zoo.served_models().keys()
    assert served["colours"]["classes"] == list(PETS.classes)
    assert served["colours"]["metrics"] == {"mean_iou": 0.5}
    architectures = {spec["name"]: spec for spec in listed["architectures"]}
    assert architectures.keys() == zoo.SPECS.keys()
    assert architectures["unet"]["trained"]
    assert not architectures["deeplabv3_resnet50"]["trained"]


def test_models_for_people(capsys):
    code, out, _ = call(capsys, "models")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("colours"))
    assert "50.0 mean IoU" in line
    assert "deeplabv3_resnet50" in out.splitlines()[-1]


# --- predict ---------------------------------------------------------------------------------------------


def test_predict_a_folder(capsys, photos, tmp_path):
    out = tmp_path / "new" / "out"
    assert call(capsys, "predict", "--model", "colours", "--out", out, photos) == (0, "", "")
    assert sorted(path.name for path in out.iterdir()) == ["cat.png", "dot.png", "lying.png"]
    expected = {"cat": (451, 300), "dot": (1, 1), "lying": (200, 300)}  # upright
    for name, size in expected.items():
        assert size_and_palette(out / f"{name}.png") == (size, PETS.palette())
    prediction = Predictor(zoo.served_model("colours"))(data.chelsea())
    np.testing.assert_array_equal(label_maps.decode_png(out / "cat.png", PETS), prediction.label_map)


def test_predict_files_with_overlay_and_json(capsys, photos, tmp_path):
    out = tmp_path / "out"
    files = [photos / "cat.png", photos / "lying.jpg"]
    code, stdout, err = call(
        capsys, "predict", "--model", "scenes", "--out", out, "--overlay", "--json", *files
    )
    assert (code, err) == (0, "")
    cat, lying = json.loads(stdout)
    assert cat.keys() == {
        "image", "label_map", "model", "label_set", "width", "height", "milliseconds", "out_of_domain", "classes",
    }  # fmt: skip
    assert cat["out_of_domain"] is None  # nobody has measured it of this model
    assert (cat["image"], cat["label_map"]) == (str(files[0]), str(out / "cat.png"))
    assert (cat["model"], cat["label_set"]) == ("scenes", "voc")
    assert (lying["width"], lying["height"]) == (200, 300)
    label_map = label_maps.decode_png(out / "cat.png", VOC)
    assert cat["classes"] == label_maps.class_table(label_map, VOC)
    assert sum(row["share"] for row in cat["classes"]) == pytest.approx(1)
    with Image.open(out / "cat_overlay.png") as overlay:
        expected = label_maps.overlay(data.chelsea(), label_map, VOC)
        np.testing.assert_array_equal(np.asarray(overlay), expected)


BAD = {"empty.jpg": b"", "text.png": b"these are words", "half.jpg": None}  # None: the first half of a photo


def test_a_bad_photo_among_good_ones_does_not_stop_them(capsys, photos, tmp_path):
    whole = encoded(data.coffee(), "JPEG")
    for name, content in BAD.items():
        half = whole[: len(whole) // 2]
        (photos / name).write_bytes(half if content is None else content)
    code, out, err = call(
        capsys,
        "predict",
        "--model",
        "colours",
        "--json",
        "--out",
        tmp_path / "out",
        photos,
        photos / "gone.jpg",
    )
    assert code == 2
    assert [Path(row["image"]).name for row in json.loads(out)] == ["cat.png", "dot.png", "lying.jpg"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["cat.png", "dot.png", "lying.png"]
    lines = err.splitlines()
    assert len(lines) == 4
    for line, name in zip(lines, [*sorted(BAD), "gone.jpg"], strict=True):
        assert line.startswith("segdemo: ")
        assert line.count(name) == 1


def test_two_photos_of_one_name_are_refused_before_anything_is_written(capsys, photos, tmp_path):
    (photos / "cat.jpg").write_bytes((photos / "lying.jpg").read_bytes())
    err = refused(capsys, "predict", "--model", "colours", "--out", tmp_path / "out", photos)
    assert "cat.jpg" in err
    assert "would both be written as cat.png: rename one" in err
    assert not (tmp_path / "out").exists()


def held(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_predict_does_not_replace_its_photos(capsys, photos, tmp_path, monkeypatch):
    before = held(photos)
    (tmp_path / "link").symlink_to(photos)
    for out in (photos, tmp_path / "link", photos / ".." / "photos"):
        for more in ([], ["--overlay"]):
            err = refused(capsys, "predict", "--model", "colours", "--out", out, *more, photos)
            assert "cat.png would be replaced by" in err
    monkeypatch.chdir(photos)
    refused(capsys, "predict", "--model", "colours", "--out", ".", photos / "cat.png")
    refused(capsys, "predict", "--model", "colours", "--out", photos, "cat.png")
    assert held(photos) == before


def test_predict_beside_photos_of_another_ending(capsys, photos):
    (photos / "cat.png").unlink()
    (photos / "dot.png").unlink()
    before = held(photos)
    assert call(capsys, "predict", "--model", "colours", "--out", photos, photos)[0] == 0
    after = held(photos)
    assert after.keys() == {*before, "lying.png"}
    assert before.items() <= after.items()


def test_an_overlay_and_a_label_map_of_one_name_are_refused(capsys, photos, tmp_path):
    (photos / "cat_overlay.png").write_bytes((photos / "dot.png").read_bytes())
    command = ["predict", "--model", "colours", "--out", tmp_path / "out"]
    err = refused(capsys, *command, "--overlay", photos)
    assert "would both be written as cat_overlay.png: rename one" in err
    assert not (tmp_path / "out").exists()
    assert call(capsys, *command, photos)[0] == 0


def test_an_overlay_does_not_follow_a_link(capsys, photos, tmp_path):
    command = ["predict", "--model", "colours", "--overlay", "--out", tmp_path / "out", photos / "cat.png"]
    assert call(capsys, *command)[0] == 0
    (tmp_path / "precious").write_bytes(b"kept")
    (tmp_path / "out" / "cat_overlay.png").unlink()
    (tmp_path / "out" / "cat_overlay.png").symlink_to(tmp_path / "precious")
    assert call(capsys, *command)[0] == 0
    assert (tmp_path / "precious").read_bytes() == b"kept"


def test_results_of_an_earlier_run_are_replaced_and_other_files_stay(capsys, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "unrelated.png").write_bytes((photos / "dot.png").read_bytes())
    for model in ("colours", "scenes"):
        assert call(capsys, "predict", "--model", model, "--overlay", "--out", out, photos)[0] == 0
    assert size_and_palette(out / "cat.png")[1] == VOC.palette()
    assert (out / "unrelated.png").read_bytes() == (photos / "dot.png").read_bytes()


def test_a_photo_of_another_folder_is_not_replaced(capsys, photos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    mine = (photos / "cat.png").read_bytes()
    (out / "lying.png").write_bytes(mine)
    err = refused(capsys, "predict", "--model", "colours", "--out", out, photos / "lying.jpg")
    assert "lying.png is there already and is no label map" in err
    assert (out / "lying.png").read_bytes() == mine


def test_system_files_among_photos_are_nobodys(capsys, photos, tmp_path):
    for name in ("._cat.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (photos / name).write_bytes(b"\0\5\x16\7")
    out = tmp_path / "out"
    assert call(capsys, "predict", "--model", "colours", "--out", out, photos) == (0, "", "")
    assert sorted(path.name for path in out.iterdir()) == ["cat.png", "dot.png", "lying.png"]
    files = sorted(photos.glob("[!n]*"))  # as a shell expands it
    assert call(capsys, "predict", "--model", "colours", "--out", out, *files) == (0, "", "")


def test_a_folder_without_photos_is_refused(capsys, tmp_path):
    (tmp_path / "nothing").mkdir()
    err = refused(capsys, "predict", "--model", "colours", "--out", tmp_path / "out", tmp_path / "nothing")
    assert "There is no photo in" in err


def test_an_unknown_model_gives_the_list(capsys, photos, tmp_path):
    err = refused(capsys, "predict", "--model", "colors", "--out", tmp_path / "out", photos)
    assert "There is no trained model 'colors'." in err
    assert "colours, scenes" in err


def test_an_out_that_is_a_file_is_refused(capsys, photos):
    err = refused(capsys, "predict", "--model", "colours", "--out", photos / "notes.txt", photos / "cat.png")
    assert "notes.txt" in err
    assert (photos / "notes.txt").read_text() == "not a photo"


def test_a_damaged_model_is_refused(capsys, photos, tmp_path, home):
    path = home / "models" / "colours" / "colours.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    err = refused(capsys, "predict", "--model", "colours", "--out", tmp_path / "out", photos)
    assert "colours.onnx is damaged" in err


def test_over_a_limit_is_refused(capsys, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGDEMO_MAX_PIXELS", "1000")
    err = refused(capsys, "predict", "--model", "colours", "--out", tmp_path / "out", photos / "cat.png")
    assert "cat.png" in err
    assert not (tmp_path / "out").exists()


# --- evaluate --------------------------------------------------------------------------------------------


def test_evaluate_as_json_and_for_people(capsys, tmp_path):
    draw_pets(tmp_path / "data", {"pug": 6})
    command = ["evaluate", "--model", "colours", "--dataset", "pets", "--data", tmp_path / "data"]
    code, out, err = call(capsys, *command, "--subset", "all", "--squashed", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["images"], report["subset"]) == (6, "all")
    assert 0 < report["mean_iou"] < 1
    assert report["class_iou"].keys() == set(PETS.classes)
    assert report["squashed"]["mean_iou"] > 0
    code, out, _ = call(capsys, *command, "--subset", "all")
    assert code == 0
    assert f"{100 * report['mean_iou']:.2f} %" in out
    assert "6 photos" in out
    assert f"{100 * report['mean_iou_with_predicted']:.2f} %  and those predicted without truth" in out


def test_evaluate_draws_pictures(capsys, tmp_path):
    root, out = draw_pets(tmp_path / "data", {"pug": 6}), tmp_path / "pictures"
    command = ["evaluate", "--model", "colours", "--dataset", "pets", "--data", root, "--subset", "all"]
    for _ in range(2):  # once more over those of before
        assert call(capsys, *command, "--pictures", out)[0] == 0
    samples = open_dataset("pets", root).samples("all")
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{s.id}_triptych.png" for s in samples)
    photo, truth = read_pair(samples[0], PETS)
    predicted = Predictor(zoo.served_model("colours"))(photo).label_map
    with Image.open(out / f"{samples[0].id}_triptych.png") as picture:
        expected = pictures.triptych(photo, truth, predicted, PETS)
        np.testing.assert_array_equal(np.asarray(picture), np.asarray(expected))
    before = sorted(root.rglob("*"))
    for inside in (root, root / "images"):
        assert "choose another --out" in refused(capsys, *command, "--pictures", inside)
    assert sorted(root.rglob("*")) == before


def test_outlines_are_left_as_they_are_on_request(capsys, home, photos, tmp_path):
    refinement = {"radius": 16, "epsilon": 1e-4}
    write_model(
        home / "models" / "coarse", "coarse", PETS, *bright(3, 0, 1), stride=16, refinement=refinement
    )
    draw_pets(tmp_path / "data", {"pug": 6})
    command = ["evaluate", "--model", "coarse", "--dataset", "pets", "--data", tmp_path / "data", "--json"]
    refined = json.loads(call(capsys, *command)[1])
    plain = json.loads(call(capsys, *command, "--no-refine")[1])
    assert (refined["refined"], plain["refined"]) == (True, False)
    assert refined["mean_iou"] != plain["mean_iou"]
    found = []
    for more in ([], ["--no-refine"]):
        command = ["predict", "--model", "coarse", "--out", tmp_path / "out", *more, photos / "cat.png"]
        assert call(capsys, *command)[0] == 0
        found.append(label_maps.decode_png(tmp_path / "out" / "cat.png", PETS))
    predictor = Predictor(zoo.served_model("coarse").unrefined())
    np.testing.assert_array_equal(found[1], predictor(data.chelsea()).label_map)
    assert (found[0] != found[1]).any()


def test_calibrate_keeps_a_refinement_that_it_cannot_measure(capsys, home, tmp_path):
    refinement = {"radius": 16, "epsilon": 1e-4, "chosen_for": "parent"}
    write_model(home / "models" / "child", "child", PETS, *bright(3, 0, 1), refinement=refinement)
    draw_pets(tmp_path / "data", {"pug": 30})
    command = ["calibrate", "--model", "child", "--dataset", "pets", "--data", tmp_path / "data"]
    code, out, err = call(capsys, *command, "--json")
    assert code == 0, err
    assert json.loads(out)["refinement"] == refinement
    code, out, err = call(capsys, *command)
    assert code == 0, err
    assert "temperature" in out


def test_evaluate_on_other_classes_is_refused(capsys, tmp_path):
    draw_annotations(tmp_path / "data", ["a", "b", "c"])
    command = ["evaluate", "--model", "colours", "--dataset", "annotations", "--data", tmp_path / "data"]
    assert "not those of Shapes" in refused(capsys, *command)


def test_evaluate_without_data_is_refused(capsys, tmp_path):
    command = ["evaluate", "--model", "colours", "--dataset", "voc", "--data", tmp_path / "nowhere"]
    assert "There is no folder" in refused(capsys, *command)


# --- data ------------------------------------------------------------------------------------------------


def test_check_a_good_dataset(capsys, tmp_path):
    draw_voc(tmp_path / "data", VOC)
    code, out, err = call(capsys, "data", "check", tmp_path / "data")
    assert (code, err) == (0, "")
    assert "no problem" in out
    code, out, _ = call(capsys, "data", "check", "--json", tmp_path / "data")
    assert code == 0
    assert json.loads(out)[0]["subsets"]["train"] == 3


def test_check_a_bad_dataset(capsys, tmp_path):
    folder = draw_voc(tmp_path / "data", VOC)
    mask = sorted((folder / "SegmentationClass").iterdir())[0]
    mask.write_bytes(b"no mask")
    code, out, _ = call(capsys, "data", "check", "--json", tmp_path / "data")
    assert code == 2
    (report,) = json.loads(out)
    assert [problem["path"] for problem in report["problems"]] == [str(mask)]


def test_check_where_there_is_no_dataset(capsys, tmp_path):
    assert "There is no VOC, Pets or annotation dataset in" in refused(capsys, "data", "check", tmp_path)


def draw_binary(root):
    """Pets whose trimaps are masks of 0 and 255."""
    draw_pets(root, {"pug": 10})
    for path in (root / "annotations" / "trimaps").iterdir():
        save_mask(path, np.where(np.array(Image.open(path)) == 1, 255, 0).astype(np.uint8))
    return root


def test_binary_masks_are_called_out_before_anything_starts(capsys, tmp_path):
    root, run = draw_binary(tmp_path / "data"), tmp_path / "run"
    named = ["--dataset", "pets", "--data", root]
    code, out, _ = call(capsys, "data", "check", root)
    assert code == 2
    assert "hold only 0 and 255" in out
    for command in (
        ["evaluate", "--model", "colours", *named],
        ["calibrate", "--model", "colours", *named],
        ["train", "--model", "unet_plain", *named, "--out", run],
        ["train", "--model", "unet_plain", *named, "--estimate"],
    ):
        err = refused(capsys, *command)
        assert "hold only 0 and 255" in err
        assert "data binary" in err
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    assert not (run / "checkpoints").exists()


def test_a_copy_of_binary_masks_can_be_trained_on(capsys, tmp_path):
    root, out = draw_binary(tmp_path / "data"), tmp_path / "copy"
    code, stdout, err = call(capsys, "data", "binary", root, "--out", out, "--name", "cat")
    assert (code, err) == (0, "")
    assert stdout.startswith("10 masks in ")
    assert open_dataset("annotations", out).label_set.classes == ("background", "cat")
    assert call(capsys, "data", "check", out)[0] == 0
    assert "is there already" in refused(capsys, "data", "binary", root, "--out", out)
    assert "choose another --out" in refused(capsys, "data", "binary", root, "--out", root / "annotations")
    assert "There is no VOC" in refused(capsys, "data", "binary", tmp_path / "home", "--out", tmp_path / "x")


def test_a_copy_does_not_take_the_place_of_the_current_folder(capsys, tmp_path, monkeypatch):
    root, here = draw_binary(tmp_path / "data"), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert "is the current folder" in refused(capsys, "data", "binary", root, "--out", ".")
    assert not list(here.iterdir()) and len(list(tmp_path.glob(".*"))) == 0
    assert call(capsys, "data", "binary", root, "--out", "copy")[0] == 0
    assert (here / "copy" / "labels.json").is_file()


def test_evaluate_names_the_mask_it_stumbles_over(capsys, tmp_path):
    draw_pets(tmp_path / "data", {"pug": 10})
    command = ["--model", "colours", "--dataset", "pets", "--data", tmp_path / "data"]
    path = open_dataset("pets", tmp_path / "data").samples("test")[0].mask_path
    save_mask(path, np.ones((5, 5), np.uint8))
    assert f"{path} is 5 x 5 pixels, its photo 48 x 36" in refused(capsys, "evaluate", *command)
    path.write_bytes(path.read_bytes()[:50])
    for name in ("evaluate", "calibrate"):
        assert str(path) in refused(capsys, name, *command)


def test_trimaps(capsys, tmp_path):
    draw_voc(tmp_path / "voc", VOC, train=14)  # the drawn masks' classes are 1, 2, 3 ...: 8 is cat, 12 dog
    code, out, _ = call(capsys, "data", "trimaps", tmp_path / "voc", "--out", tmp_path / "pets")
    assert code == 0
    assert out.startswith("2 photos in ")
    names = sorted(path.stem for path in (tmp_path / "pets" / "annotations" / "trimaps").iterdir())
    assert names == ["cat_2007000007", "dog_2007000011"]
    draw_pets(tmp_path / "own", {"pug": 6, "birman": 6})
    call(capsys, "data", "trimaps", tmp_path / "voc", "--out", tmp_path / "both", "--pets", tmp_path / "own")
    both = {path.stem for path in (tmp_path / "both" / "images").iterdir()}
    assert both == {*names, *open_dataset("pets", tmp_path / "own").splits["train"]}


def test_trimaps_into_what_they_are_made_of_are_refused(capsys, tmp_path):
    voc = draw_voc(tmp_path / "voc", VOC, train=14)
    own = draw_pets(tmp_path / "own", {"pug": 6})
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    command = ["data", "trimaps", tmp_path / "voc", "--pets", own, "--out"]
    for out in (own, voc, own / "images", voc / "JPEGImages"):
        assert "choose another --out" in refused(capsys, *command, out)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file() and "home" not in path.parts) == [
        path for path in before if "home" not in path.parts
    ]


def test_trimaps_of_one_name_are_refused(capsys, tmp_path):
    voc = draw_voc(tmp_path / "voc", VOC, train=14)
    (voc / "JPEGImages" / "20070_00007.jpg").write_bytes(
        (voc / "JPEGImages" / "2007_000007.jpg").read_bytes()
    )
    with (voc / "ImageSets" / "Segmentation" / "train_aug.txt").open("a") as file:
        file.write("20070_00007\n")
    command = ["data", "trimaps", tmp_path / "voc", "--out", tmp_path / "pets"]
    assert "would both be written as cat_2007000007.png" in refused(capsys, *command)
    assert not (tmp_path / "pets").exists()


def test_download_without_a_place_is_refused(capsys):
    assert "Say where to download to" in refused(capsys, "data", "download", "voc")


# --- train and export ------------------------------------------------------------------------------------


def test_recipes_are_listed(capsys):
    code, out, _ = call(capsys, "train", "--list-recipes", "--json")
    assert code == 0
    assert "unet-pets" in json.loads(out)
    assert "unet-pets" in call(capsys, "train", "--list-recipes")[1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "Say where the run goes: --out"),
        (["--out", "RUN"], "Say which model: --model"),
        (["--out", "RUN", "--model", "unet", "--dataset", "pets"], "Say which data: --data"),
        (["--out", "RUN", "--recipe", "cake"], "no recipe 'cake'"),
        (["--out", "RUN", "--resume"], "There is no run in"),
        (["--out", "RUN", "--resume", "--recipe", "unet-pets"], "Leave out --recipe"),
        (["--out", "RUN", "--resume", "--recipe", "cake"], "Leave out --recipe"),
        (
            ["--out", "RUN", "--recipe", "unet-pets", "--data", ".", "--set", "epochs"],
            "--set takes NAME=VALUE",
        ),
        (["--out", "RUN", "--recipe", "unet-pets", "--data", ".", "--set", "epoch=3"], "no setting 'epoch'"),
        (
            ["--out", "RUN", "--recipe", "unet-pets", "--data", ".", "--set", "epochs=x"],
            "epochs is a whole number",
        ),
        (["--out", "RUN", "--recipe", "unet-pets", "--data", ".", "--model", "x"], "no architecture 'x'"),
        (["--out", "RUN", "--recipe", "unet-pets", "--data", "nowhere"], "There is no folder"),
    ],
)
def test_a_wrong_training_is_refused(capsys, tmp_path, arguments, sentence):
    arguments = [str(tmp_path / "run") if argument == "RUN" else argument for argument in arguments]
    assert sentence in refused(capsys, "train", *arguments)


@pytest.mark.parametrize("text", ["[]", '["model"]', "null", "3"])
def test_settings_of_a_run_that_are_none_are_refused(capsys, tmp_path, text):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(text)
    assert "config.json is damaged" in refused(capsys, "train", "--out", tmp_path / "run", "--resume")


def test_a_run_does_not_go_into_its_data_or_its_start(capsys, tmp_path, home):
    data = draw_pets(tmp_path / "data", {"pug": 10})
    command = ["train", "--model", "unet_plain", "--dataset", "pets", "--data", data, "--out"]
    for out in (data, data / "images", data / "annotations" / "run"):
        assert "choose another --out" in refused(capsys, *command, out)
    weights = tmp_path / "old" / "model.weights.h5"
    weights.parent.mkdir()
    weights.write_bytes(b"learned")
    for start, out in ((weights, weights.parent), ("colours", home / "models" / "colours")):
        assert "which the run starts from" in refused(capsys, *command, out, "--start-from", start)
    assert weights.read_bytes() == b"learned"


@pytest.mark.usefixtures("eager")
def test_train_and_export_here(capsys, tmp_path, monkeypatch):
    draw_pets(tmp_path / "data", {"pug": 10})
    run = tmp_path / "tiny"
    command = ["train", "--model", "unet_plain", "--dataset", "pets", "--data"]
    command += [tmp_path / "data", "--out", run]
    command += ["--epochs", 1, "--batch", 2, "--size", 32, "--set", 'options={"filters":[4],"bottleneck":4}']
    code, out, err = call(capsys, *command, "--no-export")
    assert code == 0
    assert out == ""  # the progress bar belongs on stderr
    assert "loss" in err
    assert not (run / "model.onnx").exists()
    code, out, _ = call(capsys, "export", run, "--name", "small", "--json")
    assert code == 0
    entry = json.loads(out)
    assert entry["metrics"]["images"] == 2
    assert zoo.read_manifest(run / "manifest.json")["small"].path.is_file()
    monkeypatch.chdir(run)
    code, out, _ = call(capsys, "export", ".")
    assert code == 0
    assert "mean IoU" in out
    assert list(zoo.read_manifest(run / "manifest.json")) == ["tiny"]
    assert "already holds a run" in refused(capsys, *command)


def rounded(path):
    return any(node.op_type == "QuantizeLinear" for node in onnx.load(path).graph.node)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("filters", [4, 32], ids=["few weights", "many"])
def test_train_to_an_int8_graph_in_one_command(capsys, tmp_path, monkeypatch, filters):
    faster = 10.0
    # a network that has learned nothing loses by chance
    monkeypatch.setattr("segdemo.training.export.exporter.INT8_LOSS", 1)
    monkeypatch.setattr(
        "segdemo.training.export.quantize.milliseconds", lambda path, *_: 1.0 if rounded(path) else faster
    )  # time on such a network is chance as well
    draw_pets(tmp_path / "data", {"pug": 10})
    small = f'options={{"filters":[{filters},{filters}],"bottleneck":{filters}}}'
    command = ["train", "--recipe", "tutorial-unet", "--model", "unet_plain", "--data", tmp_path / "data"]
    command += ["--out", tmp_path / "tiny", "--epochs", 1, "--batch", 2, "--size", 32, "--int8", "--json"]
    command += ["--set", small, "--set", 'frozen=""']
    code, out, _ = call(capsys, *command)
    assert code == 0
    tried = json.loads(out)["model"]["int8"]
    served = zoo.read_manifest(tmp_path / "tiny" / "manifest.json")["tiny"].path
    assert (served.stat().st_size < tried["bytes_float"]) == tried["served"]
    assert rounded(served) == tried["served"] == (filters == 32)  # few weights take more room rounded
    faster = 1.0
    assert call(capsys, "export", tmp_path / "tiny", "--int8")[0] == 0
    assert not rounded(served)


def test_export_of_nothing_is_refused(capsys, tmp_path):
    assert "has no best checkpoint yet" in refused(capsys, "export", tmp_path)


# --- as a program ----------------------------------------------------------------------------------------


def program(*arguments):
    command = [sys.executable, "-m", "segdemo", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)


@pytest.mark.parametrize(
    "arguments",
    [[], ["segment"], ["predict"], ["predict", "--model"], ["evaluate", "--model", "m", "--dataset", "coco"]],
)
def test_bad_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: segdemo" in capsys.readouterr().err


def test_the_program_tells_good_from_bad(photos, tmp_path):
    done = program("predict", "--model", "colours", "--out", tmp_path / "out", photos / "cat.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert size_and_palette(tmp_path / "out" / "cat.png")[0] == (451, 300)
    done = program("predict", "--model", "colours", "--out", tmp_path / "out", photos / "notes.txt")
    assert done.returncode == 2
    assert done.stderr.startswith("segdemo: notes.txt")
    assert done.stderr.count("\n") == 1


def test_an_internal_error_is_no_bad_input(monkeypatch, photos, tmp_path, capsys):
    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Predictor, "__call__", fail)
    assert main(["predict", "--model", "colours", "--out", str(tmp_path), str(photos / "cat.png")]) == 1
    *trace, last = capsys.readouterr().err.splitlines()
    assert trace[0].startswith("Traceback")  # where it happened
    assert trace[-1] == "RuntimeError: a bug"
    assert last == "segdemo: Something unexpected went wrong (RuntimeError: a bug)."


@pytest.mark.usefixtures("eager")
def test_how_long_a_training_would_take_here(capsys, tmp_path):
    draw_pets(tmp_path / "data", {"pug": 10})
    tiny = json.dumps({"filters": [4], "bottleneck": 8})
    arguments = ["train", "--model", "unet_plain", "--dataset", "pets", "--data", str(tmp_path / "data")]
    arguments += ["--size", "32", "--batch", "2", "--epochs", "3", "--set", f"options={tiny}", "--estimate"]
    code, out, _ = call(capsys, *arguments, "--json")
    measured = json.loads(out)
    assert (code, measured["steps"]) == (0, 4)  # of seven photos, two a step: the last one counts
    assert measured["seconds_per_step"] > 0
    assert call(capsys, *arguments)[1].startswith("About ")
    assert "no folder" in refused(capsys, *arguments[:6], str(tmp_path / "nowhere"), "--estimate")
    assert "which run to go on with" in refused(capsys, "train", "--resume", "--estimate")

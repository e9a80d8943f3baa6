"""The command line: ``python -m segdemo COMMAND``.

Exit codes: 0 done; 2 bad usage or bad input, with one line on stderr; 1 an internal error. Results for machines
go to stdout with ``--json``; progress goes to stderr.
"""

import argparse
import contextlib
import json
import os
import sys
import traceback
from dataclasses import replace
from functools import partial
from pathlib import Path

from segdemo import cli_annotations, failures


def main(arguments=None):
    """Run one command and return its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return options.run(options) or 0
    except KeyboardInterrupt:
        print("segdemo: stopped", file=sys.stderr)
        return 1
    except Exception as error:
        known = failures.known_sentence(error)  # what a user can mend: our own errors, files and folders
        if known is None:
            traceback.print_exc()
        print(f"segdemo: {known or failures.sentence(error)}", file=sys.stderr)
        return 1 if known is None else 2


def _parser():
    parser = argparse.ArgumentParser(prog="segdemo", description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("models", help="list the trained models and the architectures")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_models)

    command = commands.add_parser("predict", help="write the label map of each photo")
    _add_model(command)
    command.add_argument("--out", required=True, type=Path, help="folder for <stem>.png")
    command.add_argument("--overlay", action="store_true", help="also write <stem>_overlay.png")
    _add_passes(command)
    command.add_argument("--json", action="store_true")
    command.add_argument("photos", nargs="+", type=Path, metavar="IMAGE_OR_DIR")
    command.set_defaults(run=_predict)

    command = commands.add_parser("evaluate", help="measure a model on a dataset")
    _add_model(command)
    _add_dataset(command)
    command.add_argument("--subset", default="test", help="val, test or all (default: test)")
    command.add_argument(
        "--squashed", action="store_true", help="also score masks and predictions squashed to 384x384"
    )
    _add_passes(command)
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_evaluate)

    command = commands.add_parser("calibrate", help="measure how far a model's confidence can be trusted")
    _add_model(command)
    _add_dataset(command)
    command.add_argument(
        "--sizes", type=int, nargs="+", default=[], metavar="PIXELS", help="choose among these long sides"
    )
    command.add_argument(
        "--passes", action="store_true", help="also measure what mirrored and scaled photos gain and cost"
    )
    command.add_argument("--write", action="store_true", help="keep the result in the model's manifest")
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_calibrate)

    command = commands.add_parser("train", help="train or fine-tune a model")
    command.add_argument("--model", help="an architecture; see `models`")
    command.add_argument("--recipe", help="start from the settings of a recipe")
    command.add_argument("--list-recipes", action="store_true")
    _add_dataset(command, required=False)
    command.add_argument("--out", type=Path, help="the run directory")
    command.add_argument("--resume", action="store_true", help="go on with the run in --out")
    command.add_argument("--epochs", type=int)
    command.add_argument("--batch", type=int)
    command.add_argument("--size", type=int, help="side of the training crop, pixels")
    command.add_argument("--learning-rate", type=float)
    command.add_argument("--start-from", help="a trained model or a .weights.h5 file to go on from")
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="any other setting, as JSON"
    )
    command.add_argument("--no-export", action="store_true", help="do not export at the end")
    _add_int8(command)
    command.add_argument(
        "--estimate",
        action="store_true",
        help="time a few steps and say how long it would take; needs no --out",
    )
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_train)

    command = commands.add_parser("export", help="turn a run's best checkpoint into a served model")
    command.add_argument("run_dir", type=Path, metavar="RUN_DIR")
    command.add_argument("--name", help="name of the model (default: the run's folder)")
    _add_int8(command)
    command.add_argument("--json", action="store_true")
    command.set_defaults(run=_export)

    command = commands.add_parser("data", help="download or check a dataset")
    actions = command.add_subparsers(required=True, metavar="ACTION")
    action = actions.add_parser("download")
    action.add_argument("kind", choices=("voc", "pets"))
    action.add_argument("--out", type=Path, help="where to (default: SEGDEMO_DATA)")
    action.set_defaults(run=_download)
    action = actions.add_parser("check")
    action.add_argument("folder", type=Path, metavar="DIR")
    action.add_argument("--json", action="store_true")
    action.set_defaults(run=_check)
    action = actions.add_parser("binary", help="copy a dataset of masks of 0 and 255, with 255 as a class")
    action.add_argument("folder", type=Path, metavar="DIR")
    action.add_argument("--out", type=Path, required=True, help="the folder to make")
    action.add_argument("--name", default="object", help="what 255 shows (default: object)")
    action.set_defaults(run=_binary)
    action = actions.add_parser("trimaps", help="turn VOC's cats and dogs into a dataset like Pets")
    action.add_argument("folder", type=Path, metavar="VOC_DIR")
    action.add_argument("--out", type=Path, required=True)
    action.add_argument(
        "--pets", type=Path, metavar="PETS_DIR", help="add the training photos of this Pets dataset"
    )
    action.set_defaults(run=_trimaps)

    cli_annotations.add_to(commands)
    return parser


def _add_dataset(command, required=True):
    command.add_argument("--dataset", required=required, choices=("voc", "pets", "annotations"))
    command.add_argument("--data", required=required, type=Path, metavar="DIR")


def _add_model(command):
    command.add_argument(
        "--model", required=True, help="a trained model, or a finished run: its folder or name"
    )


def _add_int8(command):
    command.add_argument(
        "--int8", action="store_true", help="serve an int8 graph if it is smaller, faster and about as good"
    )


def _add_passes(command):
    command.add_argument(
        "--flip", action="store_true", help="average with the mirrored photo: twice the time"
    )
    command.add_argument(
        "--scales",
        type=float,
        nargs="+",
        default=[1.0],
        metavar="S",
        help="average over these multiples of the model's size (default: 1)",
    )
    command.add_argument(
        "--no-refine", action="store_true", help="do not draw outlines where the photo has them"
    )


def _asked_model(options):
    """The model that a command with ``_add_passes`` names, as it is asked for. Raises as ``zoo.model_at``."""
    from segdemo.zoo import model_at

    entry = model_at(options.model)
    return entry.unrefined() if options.no_refine else entry


def _print_json(data):
    print(json.dumps(data, indent=1))


_FACTS = ("parameters", "input", "multiply_adds", "flops")  # of one photo of the size `input`


def _models(options):
    from segdemo import zoo

    served = [entry.to_json() for entry in zoo.served_models().values()]
    if options.json:
        architectures = [
            {
                "name": spec.name,
                "title": spec.title,
                "label_set": spec.label_set,
                "encoder": spec.encoder,
                "paper": spec.paper,
                "trained": any(model["architecture"] == spec.name for model in served),
                **{key: zoo.architecture_facts()[spec.name][key] for key in _FACTS},
            }
            for spec in zoo.SPECS.values()
        ]
        _print_json({"models": served, "architectures": architectures})
        return
    for model in served:
        score = model.get("metrics", {}).get("mean_iou")
        shown = f"{100 * score:5.1f} mean IoU" if score is not None else ""
        print(f"{model['name']:24} {model['title']:24} {model['label_set']:6} {shown}")
    untrained = [name for name in zoo.SPECS if name not in {m["architecture"] for m in served}]
    print(f"Not trained yet: {', '.join(untrained)}")


def _predict(options):
    from segdemo import masks, outputs
    from segdemo.files import write_atomic
    from segdemo.intake import IntakeError, Limits, read_photo
    from segdemo.predict import Predictor

    photos = outputs.photos_in(options.photos)
    targets = outputs.predictions(photos, options.out, options.overlay)
    entry = _asked_model(options)
    predictor = Predictor(entry, options.scales, options.flip)
    limits = Limits.from_env()
    results, failed = [], 0
    for target in _progress(targets, "photos"):
        path = target.photo
        try:
            image = read_photo(path, limits)
        except IntakeError as error:  # the others are still wanted
            sentence = failures.sentence(error)
            named = sentence if path.name in sentence else f"{path.name}: {sentence}"
            print(f"segdemo: {named}", file=sys.stderr)
            failed += 1
            continue
        prediction = predictor(image)
        options.out.mkdir(parents=True, exist_ok=True)
        write_atomic(target.label_map, masks.encode_png(prediction.label_map, entry.label_set))
        if target.overlay:
            overlay = masks.overlay(image, prediction.label_map, entry.label_set)
            write_atomic(target.overlay, _png(overlay))  # which does not follow a link
        results.append(
            {
                "image": str(path),
                "label_map": str(target.label_map),
                "model": entry.name,
                "label_set": entry.label_set.name,
                "width": image.shape[1],
                "height": image.shape[0],
                "milliseconds": round(prediction.milliseconds, 1),
                "classes": masks.class_table(prediction.label_map, entry.label_set),
            }
        )
    if options.json:
        _print_json(results)
    return 2 if failed else 0


def _png(pixels):
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def _evaluate(options):
    from segdemo.datasets import open_dataset
    from segdemo.evaluate import evaluate_model

    entry = _asked_model(options)
    dataset = open_dataset(options.dataset, options.data)
    report = evaluate_model(
        entry,
        dataset,
        options.subset,
        squashed=options.squashed,
        scales=options.scales,
        flip=options.flip,
        wrap=lambda s: _progress(s, "photos"),
    )
    if options.json:
        _print_json(report)
        return
    print(f"{report['model']} on {report['dataset']} {report['subset']}, {report['images']} photos")
    for key in ("mean_iou", "mean_accuracy", "pixel_accuracy"):
        print(f"{key.replace('_', ' '):16} {100 * report[key]:6.2f} %")
    print(f"{'median time':16} {report['milliseconds']:6.1f} ms")
    for name, value in report["class_iou"].items():
        print(f"  {name:14} {'   -' if value is None else f'{100 * value:6.2f}'}")


def _calibrate(options):
    from segdemo import calibrate
    from segdemo.datasets import open_dataset
    from segdemo.evaluate import evaluate_passes
    from segdemo.zoo import model_at

    entry = model_at(options.model)
    dataset = open_dataset(options.dataset, options.data)
    wrap = partial(_progress, unit="photos")
    result = calibrate.calibrate(entry, dataset, wrap=wrap, sizes=options.sizes)
    if options.passes:
        data = {**entry.data, **{name: result[name] for name in ("adjustment", "refinement")}}
        chosen = {name: result[name] for name in ("long_side", "temperature")}
        calibrated = replace(entry, **chosen, data=data)
        result["test_time"] = evaluate_passes(calibrated, dataset, "val", wrap=wrap)
    if options.write:
        calibrate.write(entry, result)
    if options.json:
        _print_json(result)
        return
    if size := result["size"]:
        tried = ", ".join(f"{side}: {100 * score:.1f}" for side, score in size["mean_iou"].items())
        print(f"photos are scaled to {size['long_side']} pixels; mean IoU on {size['chosen_on']} {tried}")
    if adjustment := result["adjustment"]:
        before, after = (100 * adjustment[key] for key in ("mean_iou_before", "mean_iou"))
        gain = f"{before:.1f} mean IoU on {adjustment['chosen_on']}, with it {after:.1f}"
        print(f"adjusted for rare classes with strength {adjustment['strength']}: {gain}")
    print(f"temperature {result['temperature']}")
    if measured := result["calibration"]:
        before, after = (100 * measured[key] for key in ("ece_before", "ece"))
        print(f"expected calibration error on {measured['subset']} {before:.2f} %, with it {after:.2f} %")
    refinement = result["refinement"]
    if refinement and "mean_iou" in refinement:  # one that it had may not have been measured
        before, after = (100 * refinement[key] for key in ("mean_iou_before", "mean_iou"))
        gain = f"{before:.1f} mean IoU on {refinement['chosen_on']}, with it {after:.1f}"
        print(f"outlines refined with radius {refinement['radius']}, epsilon {refinement['epsilon']}: {gain}")
    if domain := result["domain"]:
        print(
            f"of {domain['photos']} photos of what it knows, {100 * domain['false_alarms']:.1f} % are called "
            "unknown"
            + (
                f", of {domain['windows']} that show none of it {100 * domain['noticed']:.1f} %"
                if domain["windows"]
                else ""
            )
        )
    for name, measured in result.get("test_time", {}).items():
        gain = 100 * (measured["mean_iou"] - measured["mean_iou_once"])
        print(f"{name} {gain:+.2f} mean IoU, {measured['times_slower']} times as slow")


def _train(options):
    from segdemo import recipes

    if options.list_recipes:
        shown = {name: recipe.summary for name, recipe in recipes.RECIPES.items()}
        if options.json:
            _print_json(shown)
        else:
            print("\n".join(f"{name:33} {summary}" for name, summary in shown.items()))
        return None
    if options.out is None and not options.estimate:
        raise ValueError("Say where the run goes: --out RUN_DIR.")
    settings = _train_settings(options, recipes)
    if not options.resume and not options.estimate:
        _check_run_folder(options.out, settings)
    # TensorFlow asks for oneDNN's kernels by itself on some processors only. Without AVX-512, a step of DeepLabv3 on
    # MobileNetV2 takes a sixth of the time with them.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    from segdemo import train
    from segdemo.train_config import TrainConfig

    config = TrainConfig.from_json(settings)
    if options.estimate:
        from segdemo.estimates import Estimate

        with contextlib.redirect_stdout(sys.stderr):
            measured = train.estimate(config)
        if options.json:
            _print_json(measured)
        else:
            print(Estimate("done", measured).sentence(config.epochs))
        return None
    with contextlib.redirect_stdout(sys.stderr):  # Keras draws its progress bar on stdout
        status = train.train(
            config, options.out, options.resume, verbose=sys.stderr.isatty() or not options.json
        )
    if status["state"] == "done" and not options.no_export:
        from segdemo.export import export_run

        status["model"] = export_run(options.out, int8=options.int8)
    if options.json:
        _print_json(status)
    return None


def _check_run_folder(out, settings):
    """Raise OutputError if the run would be written over its data or the model it starts from."""
    from segdemo import outputs, zoo

    outputs.refuse_dataset(out, settings["data"])
    named = [settings.get(key) for key in ("start_from", "teacher", "encoder_weights")]
    served = zoo.served_models()
    folders = [served[name].folder for name in named if name in served]
    outputs.refuse_run_over(out, [*folders, *(Path(name) for name in named if name and Path(name).is_file())])


def _train_settings(options, recipes):
    from segdemo.files import read_json

    if options.resume:
        if options.out is None:
            raise ValueError("Say which run to go on with: --out RUN_DIR.")
        path = options.out / "config.json"
        if not path.is_file():
            raise ValueError(f"There is no run in {options.out} to go on with: leave out --resume.")
        settings = read_json(path)
    else:
        settings = recipes.settings(options.recipe) if options.recipe else {}
    for name in ("model", "dataset", "data", "epochs", "batch", "size", "learning_rate", "start_from"):
        value = getattr(options, name)
        if value is not None:
            settings[name] = str(value.resolve()) if isinstance(value, Path) else value
    for pair in options.set:
        name, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"--set takes NAME=VALUE, not {pair!r}.")
        try:
            settings[name] = json.loads(value)
        except json.JSONDecodeError:
            settings[name] = value
    for name in ("model", "dataset", "data"):
        if not settings.get(name):
            raise ValueError(f"Say which {name}: --{name}.")
    return settings


def _export(options):
    from segdemo.export import export_run

    entry = export_run(options.run_dir, options.name, int8=options.int8)
    if options.json:
        _print_json(entry)
    else:
        print(f"{options.run_dir / entry['onnx']}  {100 * entry['metrics']['mean_iou']:.1f} mean IoU")


def _download(options):
    from segdemo.download import download
    from segdemo.settings import data_dir

    target = options.out or data_dir()
    if target is None:
        raise ValueError("Say where to download to: --out DIR, or set SEGDEMO_DATA.")
    download(options.kind, target, progress=_bytes_progress())


def _check(options):
    from segdemo.datasets import check, find_datasets

    datasets = find_datasets(options.folder)
    if not datasets:
        raise ValueError(f"There is no VOC, Pets or annotation dataset in {options.folder}.")
    reports = [check(dataset) for dataset in datasets]
    if options.json:
        _print_json([report.to_json() for report in reports])
    else:
        print("\n".join(line for report in reports for line in report.lines()))
    return 0 if all(report.ok for report in reports) else 2


def _binary(options):
    from segdemo import outputs
    from segdemo.binary import write_copy
    from segdemo.datasets import find_datasets

    found = find_datasets(options.folder)
    if len(found) != 1:
        listed = "no" if not found else "more than one"
        raise ValueError(
            f"There is {listed} VOC, Pets or annotation dataset in {options.folder}: give its folder."
        )
    outputs.refuse_dataset(options.out, found[0].root)
    count = write_copy(found[0], options.out, options.name, wrap=partial(_progress, unit="photos"))
    print(f"{count} masks in {options.out}, to use with --dataset annotations")


def _trimaps(options):
    from segdemo import outputs
    from segdemo.datasets import open_dataset
    from segdemo.trimaps import add_pets, possible_names, write_pets_folder

    dataset = open_dataset("voc", options.folder)
    own = open_dataset("pets", options.pets) if options.pets else None
    pets = own.samples("train") if own else ()
    outputs.refuse_dataset(options.out, dataset.root, *([own.root] if own else []))
    samples = dataset.samples(dataset.learning_subset)
    outputs.refuse_same_names(
        [
            *((s.image_path, options.out / name) for s in samples for name in possible_names(s)),
            *((s.image_path, options.out / f"{s.id}.png") for s in pets),
        ]
    )
    count = write_pets_folder(
        samples,
        options.out,
        progress=lambda items: _progress(items, "photos"),
    )
    print(f"{count + add_pets(pets, options.out)} photos in {options.out}")


def _progress(items, unit):
    from tqdm import tqdm

    return tqdm(items, unit=f" {unit}", file=sys.stderr, disable=not sys.stderr.isatty())


def _bytes_progress():
    from tqdm import tqdm

    bar = tqdm(unit="B", unit_scale=True, file=sys.stderr)

    def update(done, total):
        bar.total = total
        bar.update(done - bar.n)

    return update


if __name__ == "__main__":
    sys.exit(main())

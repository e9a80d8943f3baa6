"""``/video``: a clip through one model, as in the Video tab, within its limits and in its line."""

from typing import Any

import gradio as gr

from segdemo.errors import UserError
from segdemo.inference.video import SMOOTHING
from segdemo.ui import clips
from segdemo.ui.endpoints import add, listed, text
from segdemo.ui.inputs import upload
from segdemo.ui.services import Services


def build(services: Services, call: gr.Button) -> None:
    """Add the endpoints to the Blocks being built."""
    clip = upload("clip", "api-clip", visible=False)
    model, formats = text("deeplabv3"), text(",".join(clips.WRITTEN))
    rate, smoothing = (gr.Number(value=value, visible=False) for value in (10, SMOOTHING))
    overlay, label_maps = gr.File(visible=False), gr.File(visible=False)
    report, told = gr.JSON(visible=False), gr.JSON(visible=False)

    def video(
        clip: str,
        model: str = "deeplabv3",
        rate: float = 10,
        formats: str = "overlay,label_maps",
        smoothing: float = SMOOTHING,
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> tuple[str | None, str | None, dict[str, Any]]:
        """Segment a clip. It answers when all of it is done; one clip is worked on at a time, others wait in line.

        Args:
            clip: an MP4, MOV, WebM, MKV or AVI of up to 500 MB. Of a long one the beginning is taken.
            model: name of a served model, see /models.
            rate: frames a second, 1 to 30; a clip that has fewer gives what it has.
            formats: what to write, with a comma between: overlay, label_maps.
            smoothing: how much the frames before count where nothing moves, 0 to 0.95.

        Returns:
            The clip with its masks, an MP4; a ZIP of palettized PNGs, 000001.png on, one a frame, and null for what was
            not wanted; {frames, width, height, rate, flicker, flicker_alone, classes, cut}: classes is the share of
            all pixels by name, cut whether the clip was longer.
        """
        if not clip:
            raise UserError("There is no clip: send one as `clip`.")
        wanted = listed(formats)
        if not wanted or (unknown := [name for name in wanted if name not in clips.WRITTEN]):
            what = f"There is no format {unknown[0][:40]!r}" if wanted else "Nothing is to be written"
            raise UserError(f"{what}: choose from {', '.join(clips.WRITTEN)}.")
        page, path = str(request.session_hash), clips.checked(clip)
        paths, found = services.clips.segment(page, path, model, rate, smoothing, wanted)
        files = [str(paths[what]) if what in paths else None for what in clips.WRITTEN]
        return files[0], files[1], found

    def video_cancel(request: gr.Request = None) -> dict[str, Any]:  # type: ignore[assignment]
        """End the work on the clip that this client has asked for: /video answers with an error then.

        Returns:
            {cancelled}: whether there was one.
        """
        return {"cancelled": services.clips.cancel(str(request.session_hash))}

    add(
        call,
        video,
        [clip, model, rate, formats, smoothing],
        [overlay, label_maps, report],
        group=clips.GROUP,
        limit=1,
    )
    add(call, video_cancel, [], told)

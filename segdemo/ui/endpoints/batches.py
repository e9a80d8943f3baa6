"""``/batch`` and what follows it: many photos through one model, see ``inference.jobs``."""

from typing import Any

import gradio as gr

from segdemo.inference.batch import BatchError
from segdemo.inference.jobs import Job
from segdemo.ui.endpoints import add, listed, text
from segdemo.ui.guard import asker, certain_person
from segdemo.ui.inputs import upload
from segdemo.ui.served import linked
from segdemo.ui.services import Services


def build(services: Services, call: gr.Button) -> None:
    """Add the endpoints to the Blocks being built."""
    files = upload("files", "api-files", file_count="multiple", visible=False)
    model, formats, job = text("deeplabv3"), text("label_map,overlay"), text()
    told, result = gr.JSON(visible=False), gr.File(visible=False)

    def batch(
        files: list[str],
        model: str = "deeplabv3",
        formats: str = "label_map,overlay",
        request: gr.Request = None,  # type: ignore[assignment]
    ) -> dict[str, Any]:
        """Segment many photos. It goes on by itself: ask /batch_status, and /batch_result in the end.

        Args:
            files: photos, or ZIPs of photos.
            model: name of a served model, see /models.
            formats: what to write, with commas between: label_map, overlay, cutout, coco, csv.

        Returns:
            As /batch_status. Who has no cookie of the page gets at the batch by its id alone: keep it to yourself.
        """
        who = request.request
        return _told(
            services.jobs.submit(certain_person(who), files or [], model, listed(formats), asker(who))
        )

    def batch_status(job: str, request: gr.Request = None) -> dict[str, Any]:  # type: ignore[assignment]
        """How far a batch is.

        Args:
            job: its id.

        Returns:
            {job, state, message, photos, done, failed, why, left_out, before, seconds_left}: state is queued, running,
            done, cancelled or failed, before is how many batches come first, why has [name, reason] of photos that
            could not be used.
        """
        return _told(_job(job, request))

    def batch_cancel(job: str, request: gr.Request = None) -> dict[str, Any]:  # type: ignore[assignment]
        """End a batch before its time; what is done is kept for a day.

        Args:
            job: its id.

        Returns:
            As /batch_status.
        """
        services.jobs.cancel(job, certain_person(request.request))
        return _told(_job(job, request))

    def batch_resume(job: str, request: gr.Request = None) -> dict[str, Any]:  # type: ignore[assignment]
        """Go on with a batch that was cancelled or failed.

        Args:
            job: its id.

        Returns:
            As /batch_status.
        """
        services.jobs.resume(job, certain_person(request.request))
        return _told(_job(job, request))

    def batch_result(job: str, request: gr.Request = None) -> str:  # type: ignore[assignment]
        """The results of a batch that is done.

        Args:
            job: its id.

        Returns:
            A ZIP.
        """
        found = _job(job, request).result
        if found is None:
            raise BatchError("This batch is not done yet: ask /batch_status.")
        return str(linked(found, "batch.zip"))

    def batch_delete(job: str, request: gr.Request = None) -> dict[str, Any]:  # type: ignore[assignment]
        """Delete a batch that has ended, with its results, before its day is over.

        Args:
            job: its id.

        Returns:
            {deleted}: its id.
        """
        services.jobs.delete(job, certain_person(request.request))
        return {"deleted": job}

    def _job(job: str, request: gr.Request) -> Job:
        return services.jobs.get(job, certain_person(request.request))

    add(call, batch, [files, model, formats], told, group="batch-begins", limit=2)
    for function in (batch_status, batch_cancel, batch_resume):
        add(call, function, [job], told)
    add(call, batch_delete, [job], told)
    add(call, batch_result, [job], result)


def _told(job: Job) -> dict[str, Any]:
    progress = job.progress
    return {
        "job": job.id,
        "state": progress.state,
        "message": progress.message,
        "photos": job.wish.photos,
        "done": progress.done,
        "failed": progress.failed,
        "why": progress.why or [],
        "left_out": job.wish.left_out,
        "before": job.before,
        "seconds_left": progress.seconds_left,
    }

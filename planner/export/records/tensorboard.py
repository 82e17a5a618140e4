"""Event files of TensorBoard, by its own package."""

from __future__ import annotations

from pathlib import Path

from planner.export.records.series import points, results, settings
from planner.report.read import RunRecord


def write(record: RunRecord, name: str, began: float, target: str) -> str:
    """Write a run below the log directory `target`; what to open."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder = Path(target) / name
    writer = EventFileWriter(str(folder))
    step, time = 0, began
    try:
        for point in points(record, began):
            step, time = point.step, point.time
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in point.values.items()]
            writer.add_event(Event(wall_time=time, step=step, summary=Summary(value=values)))
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in results(record).items()]
        text = "\n".join(f"    {key}: {value}" for key, value in settings(record).items())  # indented: shown as it is
        tensor = TensorProto(dtype="DT_STRING", tensor_shape=TensorShapeProto(dim=[{"size": 1}]))
        tensor.string_val.append(text.encode())
        told = Summary.Value(tag="run", tensor=tensor)
        told.metadata.plugin_data.plugin_name = "text"
        writer.add_event(Event(wall_time=time, step=step, summary=Summary(value=[*values, told])))
    finally:
        writer.close()
    return f"tensorboard --logdir {target}"

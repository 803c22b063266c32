"""A graph as bytes that other programs run: a `torch.export` program, an ONNX model."""

import io
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from typing import Any, TextIO, cast

import torch
from torch import Tensor

import weatherproof
from weatherproof.encoders.messages import one_line
from weatherproof.errors import InputError
from weatherproof.progress import phase
from weatherproof.verbs.export.graph import Graph

Run = Callable[[Tensor], Mapping[str, Tensor]]

OPSETS = (18, 23)  # the first has a resizing that is antialiased; the last is the newest that ONNX Runtime promises
_MOST = 2**31 - 1  # bytes of a protocol buffer
_OPERATOR = re.compile(r"op='([\w.:]+)'")


def require_onnx() -> None:
    """Raise `InputError` where one of the extra's packages is missing."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            __import__(package)
        except ImportError:
            raise InputError(f"{package} is not installed: pip install 'weatherproof[onnx]'") from None


def traced(graph: Graph, name: str, images: Tensor) -> Any:
    """The graph as a `torch.export.ExportedProgram`, for any number of images.

    Args:
        name: the encoder's, for messages.
        images: two or more, as they go in.

    Raises:
        InputError: something in the network cannot be traced, or works for one number of images alone.
    """
    dynamic: dict[int, Any] = {0: torch.export.Dim("batch")}
    if graph.shape.resized:
        dynamic |= {2: torch.export.Dim("height"), 3: torch.export.Dim("width")}
    with _quiet(), phase("tracing the network"), torch.no_grad():
        graph(images)  # what is made once and kept must not be made of a tracer's tensors
        try:
            with redirect_stderr(cast(TextIO, _WithoutGraphs(sys.stderr))):
                return torch.export.export(graph, (images,), dynamic_shapes={"images": dynamic}, strict=False)
        except Exception as error:  # another library, on other people's networks
            raise InputError(f"{name} cannot be traced by torch.export: {_reason(error)}") from None


def torch_bytes(program: Any, about: Mapping[str, Any]) -> bytes:
    """What `torch.export.load` reads; what is said of it is its extra file about.json."""
    file = io.BytesIO()
    with _quiet():
        torch.export.save(program, file, extra_files={"about.json": json.dumps(about)})
    return file.getvalue()


def torch_run(data: bytes) -> Run:
    """The program read back, as a function."""
    with _quiet():
        module = torch.export.load(io.BytesIO(data)).module()

    @torch.no_grad()
    def run(images: Tensor) -> Mapping[str, Tensor]:
        found: Mapping[str, Tensor] = module(images)
        return found

    return run


def onnx_bytes(program: Any, outputs: list[str], name: str, about: Mapping[str, Any], opset: int) -> bytes:
    """An ONNX model, whose properties say what it is.

    Raises:
        InputError: an operator without an ONNX form, named, or a model beyond what one file can hold.
    """
    import onnx
    from onnxscript import optimizer

    with _quiet(), phase("writing the network as ONNX"):
        try:
            # its own optimisation takes numbers of another type for the same constant where their bytes are the same
            made: Any = torch.onnx.export(
                program, (), dynamo=True, verbose=False, optimize=False, opset_version=opset,
                input_names=["images"], output_names=outputs,
            )  # fmt: skip
            optimizer.fold_constants(made.model)
            optimizer.remove_unused_nodes(made.model)
            size = sum(value.const_value.nbytes for value in made.model.graph.initializers.values())
            if size > _MOST:
                raise InputError(
                    f"{name} has {size / 2**30:.1f} GB of weights, and one ONNX file holds 2: export it with --to torch"
                )
            model = made.model_proto
        except InputError:
            raise
        except Exception as error:  # another library, on other people's networks
            raise InputError(f"{name} cannot be written as ONNX: {_reason(error)}") from None
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces of this machine
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:], model.metadata_props[:]
    _name_sides(model)
    model.producer_name, model.producer_version = "weatherproof", weatherproof.__version__
    model.graph.name = name
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    onnx.helper.set_model_props(model, texts)
    data: bytes = model.SerializeToString()
    return data


def _name_sides(model: Any) -> None:
    """Call the sides that may be anything "batch", "height" and "width", where the exporter has numbers for names."""
    sides = zip(model.graph.input[0].type.tensor_type.shape.dim, ("batch", "", "height", "width"), strict=True)
    names = {side.dim_param: name for side, name in sides if side.dim_param}
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param in names:
                side.dim_param = names[side.dim_param]


def onnx_run(data: bytes, outputs: list[str]) -> Run:
    """The model in ONNX Runtime on the processor, on as many threads as PyTorch has, as a function.

    Raises:
        InputError: it does not read the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"ONNX Runtime does not read what was written: {one_line(error)}") from None

    def run(images: Tensor) -> Mapping[str, Tensor]:
        found = session.run(outputs, {"images": images.numpy()})
        return {name: torch.from_numpy(value) for name, value in zip(outputs, found, strict=True)}

    return run


def _reason(error: BaseException) -> str:
    """An operator's name where one is to blame, else the first line that says something."""
    seen: BaseException | None = error
    while seen is not None:
        if found := _OPERATOR.search(str(seen)):
            return f"its operator {found[1]} has no ONNX form; put a layer that has one in its place, or --to torch"
        if "specialized" in str(seen) and "batch" in str(seen):
            return "its code works for one number of images alone (len(x) or a fixed number in a shape)"
        seen = seen.__cause__ or seen.__context__
    return f"{type(error).__name__}: {one_line(error if isinstance(error, Exception) else Exception(str(error)))}"


class _WithoutGraphs:
    """A stream without the half of a graph that `torch.export` prints where it fails."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """As the stream does."""
        return len(text) if text.isspace() or "torch.ops." in text else self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, what the exporters tell their own developers is not for the user."""
    import logging

    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir", "torch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

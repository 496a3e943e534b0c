"""Run TFLite graphs in JAX: read a .tflite file, and call it as a pure function.

Only what the graphs of MediaPipe's face modules need is known: float networks, perhaps stored as float16 or sparse, and
three operations of MediaPipe's own. The schema is TensorFlow Lite's (version 3, `tensorflow/lite/schema/schema.fbs`).

    network = tflite.read('face_landmark.tflite')
    mesh, presence = jax.jit(network)(crops)  # [B, 192, 192, 3] in 0..1
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jfrecon.errors import UserError
from jfrecon.nets import flatbuffer
from jfrecon.nets.flatbuffer import Broken, Table

LARGEST = 100 * 2**20  # bytes of a file
MOST = 2**26  # numbers in a tensor
BATCH = 16  # images at once on an accelerator
TYPES = {0: '<f4', 1: '<f2', 2: '<i4', 3: 'u1', 4: '<i8', 6: '?', 7: '<i2', 9: 'i1'}
SAME = 0
CUSTOM = 32


class Tensor(NamedTuple):
    """A tensor of a graph.

    Attributes:
      name: as the file has it.
      shape: with a batch of one.
      value: a constant, or None.
    """

    name: str
    shape: tuple[int, ...]
    value: np.ndarray | None


class Operation(NamedTuple):
    """A node of a graph: tensors by number, -1 where an optional one is left out."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A graph as a pure function of one input; differentiable, and batched along the first axis.

    Attributes:
      tensors, operations: the graph, constants folded.
      inputs, outputs: numbers of tensors.
    """

    tensors: tuple[Tensor, ...]
    operations: tuple[Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one image, [H, W, C]."""
        return self.tensors[self.inputs[0]].shape[1:]

    def __call__(self, image: jax.Array) -> tuple[jax.Array, ...]:
        """Images [B, H, W, C] in the range that the network wants -> its outputs, [B, ...], in the file's order."""
        values: dict[int, Any] = {k: t.value for k, t in enumerate(self.tensors) if t.value is not None}
        values[self.inputs[0]] = jnp.asarray(image, jnp.float32)
        for operation in self.operations:
            given = [values[k] for k in operation.inputs if k >= 0]
            shape = self.tensors[operation.outputs[0]].shape
            values[operation.outputs[0]] = RUN[operation.kind](given, operation.options, shape)
        return tuple(values[k] for k in self.outputs)


def read(path: str | Path) -> Network:
    """A network from a .tflite file.

    Raises:
      UserError: the file is missing, damaged, or needs what is not known here.
    """
    path = Path(path)
    try:
        if path.stat().st_size > LARGEST:
            raise Broken(f'larger than {LARGEST >> 20} MiB')
        return _network(path.read_bytes())
    except (Broken, OSError, OverflowError, MemoryError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise UserError(f'{path}: no TFLite network that can be run here ({reason})') from error


# The file.


def _network(data: bytes) -> Network:
    model = Table.root(data, b'TFL3')
    codes = [_code(table) for table in model.tables(1)]
    buffers = list(model.tables(4))
    graphs = list(model.tables(2))
    if len(graphs) != 1:
        raise Broken(f'{len(graphs)} graphs')
    graph = graphs[0]
    tensors = [_tensor(table, buffers) for table in graph.tables(0)]
    ends = [tuple(int(k) for k in graph.vector(field, '<i4')) for field in (1, 2)]
    operations = []
    known = {k for k, tensor in enumerate(tensors) if tensor.value is not None} | set(ends[0])
    for table in graph.tables(3):
        number = table.number(0, 'I')
        if number >= len(codes):
            raise Broken(f'operation {number} of {len(codes)}')
        operation = _operation(table, codes[number])
        used = [k for k in operation.inputs if k >= 0]
        if len(operation.outputs) != 1 or not 0 <= operation.outputs[0] < len(tensors) or not set(used) <= known:
            raise Broken(f'{operation.kind} without its tensors')
        known.add(operation.outputs[0])
        if operation.kind in ('DEQUANTIZE', 'DENSIFY') and tensors[used[0]].value is not None:
            target = operation.outputs[0]  # constants stored in float16 or sparse, which are unpacked here
            tensors[target] = tensors[target]._replace(value=np.asarray(tensors[used[0]].value, np.float32))
            continue
        operations.append(operation)
    if len(ends[0]) != 1 or not set(ends[1]) <= known or not ends[1]:
        raise Broken('not a network of one input')
    tensors = [_reshaped(tensor) for tensor in tensors]
    network = Network(tuple(tensors), tuple(operations), *ends)
    _check(network)
    return network


def _check(network: Network) -> None:
    """Traces the graph once, without computing: every shape has to be what the file says."""
    image = jax.ShapeDtypeStruct((1, *network.input_shape), jnp.float32)
    if math.prod(image.shape) > MOST:
        raise Broken('an input that is too large')
    try:
        made = jax.eval_shape(network, image)
    except Broken:
        raise
    except Exception as error:  # JAX and NumPy each raise their own kinds
        raise Broken(f'its operations do not fit together: {str(error).splitlines()[0]}') from error
    for number, value in zip(network.outputs, made):
        if value.shape != network.tensors[number].shape:
            raise Broken(f'{network.tensors[number].name} is {value.shape}')


def _code(table: Table) -> str:
    number = max(table.number(0, 'b'), table.number(3, 'i'))
    kind = table.text(1) if number == CUSTOM else BUILTIN.get(number, f'number {number}')
    if kind not in RUN and kind not in ('DEQUANTIZE', 'DENSIFY'):
        raise Broken(f'operation {kind} is not known')
    return kind


def _tensor(table: Table, buffers: Sequence[Table]) -> Tensor:
    shape = tuple(int(size) for size in table.vector(0, '<i4'))
    if min(shape, default=1) < 0 or math.prod(shape) > MOST or len(shape) > 8:
        raise Broken(f'a tensor of {shape}')
    kind, number = table.number(1, 'b'), table.number(2, 'I')
    if number >= len(buffers):
        raise Broken(f'buffer {number} of {len(buffers)}')
    content = buffers[number].vector(0, 'u1')
    if not len(content):
        return Tensor(table.text(3), shape, None)
    if kind not in TYPES or len(content) % np.dtype(TYPES[kind]).itemsize:
        raise Broken(f'a constant of type {kind}')
    value = np.frombuffer(content.tobytes(), TYPES[kind])
    sparsity = table.table(6)
    return Tensor(table.text(3), shape, value if sparsity is None else _dense(value, shape, sparsity))


def _reshaped(tensor: Tensor) -> Tensor:
    if tensor.value is None:
        return tensor
    if tensor.value.size != math.prod(tensor.shape):
        raise Broken(f'{tensor.name} has {tensor.value.size} numbers for {tensor.shape}')
    return tensor._replace(value=tensor.value.reshape(tensor.shape))


def _dense(values: np.ndarray, shape: tuple[int, ...], sparsity: Table) -> np.ndarray:
    """A tensor stored by the levels of `SparsityParameters`: dense ones, and compressed rows; some in blocks."""
    order, blocked = (sparsity.vector(field, '<i4').tolist() for field in (0, 1))
    levels = list(sparsity.tables(2))
    if sorted(order) != list(range(len(shape) + len(blocked))) or len(levels) != len(order):
        raise Broken('a sparse tensor without its levels')
    if len(set(blocked)) != len(blocked) or not set(blocked) <= set(range(len(shape))):
        raise Broken('a sparse tensor with odd blocks')
    parents = np.zeros(1, np.int64)
    places: dict[int, np.ndarray] = {}
    sizes: dict[int, int] = {}
    for axis, level in zip(order, levels):
        if level.number(0, 'b') == 0:
            size = level.number(1, 'i')
            if not 0 < size <= MOST or len(parents) * size > len(values):
                raise Broken('a sparse tensor with more places than numbers')
            sizes[axis] = size
            index = np.tile(np.arange(size), len(parents))
            rows = np.repeat(np.arange(len(parents)), size)
        else:
            segments, indices = (_union(level, field) for field in (2, 4))
            if len(segments) != len(parents) + 1 or (np.diff(segments) < 0).any() or segments[0] != 0:
                raise Broken('a sparse tensor with odd rows')
            if segments[-1] != len(indices) or len(indices) > len(values):
                raise Broken('a sparse tensor with odd rows')
            index, rows = indices, np.repeat(np.arange(len(parents)), np.diff(segments))
        places = {other: place[rows] for other, place in places.items()} | {axis: index}
        parents = parents[rows]
    if len(parents) != len(values):
        raise Broken(f'a sparse tensor with {len(values)} numbers for {len(parents)} places')
    whole = []
    for axis, size in enumerate(shape):
        place = places[axis]
        if axis in blocked:
            block = len(shape) + blocked.index(axis)
            if block not in sizes:
                raise Broken('a sparse block')
            place = place * sizes[block] + places[block]
        if len(place) and (place.min() < 0 or place.max() >= size):
            raise Broken('a sparse tensor with a place outside')
        whole.append(place)
    dense = np.zeros(shape, values.dtype)
    dense[tuple(whole)] = values
    return dense.ravel()


def _union(level: Table, field: int) -> np.ndarray:
    kind, table = level.number(field, 'B'), level.table(field + 1)
    if kind not in (1, 2, 3) or table is None:
        raise Broken('a sparse level without indices')
    return table.vector(0, ('<i4', '<u2', 'u1')[kind - 1]).astype(np.int64)


def _operation(table: Table, kind: str) -> Operation:
    inputs, outputs = (tuple(int(k) for k in table.vector(field, '<i4')) for field in (1, 2))
    if kind in CUSTOM_OPERATIONS:
        custom = table.vector(5, 'u1').tobytes()
        return Operation(kind, inputs, outputs, flatbuffer.flat_map(custom) if custom else {})
    options = table.table(4)
    fields = OPTIONS.get(kind, {})
    found = {name: default for name, (_, _, default) in fields.items()}
    if options is not None:
        found = {name: options.number(*field) for name, field in fields.items()}
    if not all(0 < found.get(name, 1) <= 64 for name in ('stride_h', 'stride_w', 'height', 'width', 'block')):
        raise Broken(f'{kind} with odd strides')
    return Operation(kind, inputs, outputs, found)


# The operations: (inputs, options, shape of the output with a batch of one) -> output.


def _activated(values: jax.Array, options: Mapping[str, Any]) -> jax.Array:
    kind = options.get('activation', 0)
    if kind not in ACTIVATIONS:
        raise Broken(f'activation {kind} is not known')
    return ACTIVATIONS[kind](values)


def _padded(values: jax.Array, window: Sequence[int], options: Mapping[str, Any], fill: float) -> jax.Array:
    """Images [B, H, W, C] with TensorFlow's 'same' border for a window and its strides, or as they are."""
    if options['padding'] != SAME:
        return values
    border = []
    for size, extent, stride in zip(values.shape[1:3], window, (options['stride_h'], options['stride_w'])):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
        border.append((total // 2, total - total // 2))
    return jnp.pad(values, ((0, 0), *border, (0, 0)), constant_values=fill)


def _convolution(given: Sequence[Any], options: Mapping[str, Any], _: Sequence[int]) -> jax.Array:
    """CONV_2D: images [B, H, W, C], kernels [O, h, w, C], bias [O]."""
    image, kernel = given[:2]
    strides = options['stride_h'], options['stride_w']
    _once(options)
    if kernel.shape[1:3] == (1, 1) and strides == (1, 1):
        made = jnp.tensordot(image, kernel[:, 0, 0].T, 1)
    else:
        made = lax.conv_general_dilated(
            _padded(image, kernel.shape[1:3], options, 0.0), jnp.asarray(kernel), strides, 'VALID',
            dimension_numbers=('NHWC', 'OHWI', 'NHWC'),
        )  # fmt: skip
    return _activated(made + given[2] if len(given) > 2 else made, options)


def _depthwise(given: Sequence[Any], options: Mapping[str, Any], _: Sequence[int]) -> jax.Array:
    """DEPTHWISE_CONV_2D: images [B, H, W, C], kernels [1, h, w, C], bias [C].

    A sum of shifted products: on CPUs XLA's grouped convolution takes 4 to 14 times as long.
    """
    image, kernel = given[:2]
    _once(options)
    if kernel.shape[-1] != image.shape[-1]:
        raise Broken('a depthwise convolution with a multiplier')
    height, width = kernel.shape[1:3]
    down, right = options['stride_h'], options['stride_w']
    image = _padded(image, (height, width), options, 0.0)
    rows, columns = ((n - k) // s + 1 for n, k, s in zip(image.shape[1:3], (height, width), (down, right)))
    made: Any = given[2] if len(given) > 2 else 0.0
    for y in range(height):
        for x in range(width):
            seen = image[:, y : y + down * (rows - 1) + 1 : down, x : x + right * (columns - 1) + 1 : right]
            made = made + seen * kernel[0, y, x]
    return _activated(made, options)


def _once(options: Mapping[str, Any]) -> None:
    if options['dilation_h'] != 1 or options['dilation_w'] != 1:
        raise Broken('a dilated convolution')


def _max_pool(given: Sequence[Any], options: Mapping[str, Any], _: Sequence[int]) -> jax.Array:
    window = options['height'], options['width']
    image = _padded(given[0], window, options, -jnp.inf)
    strides = options['stride_h'], options['stride_w']
    made = lax.reduce_window(image, -jnp.inf, lax.max, (1, *window, 1), (1, *strides, 1), 'VALID')
    return _activated(made, options)


def _resize(given: Sequence[Any], options: Mapping[str, Any], shape: Sequence[int]) -> jax.Array:
    """RESIZE_BILINEAR: each axis by a matrix that weighs two neighbours."""
    image = given[0]
    for axis in (1, 2):
        before, after = image.shape[axis], shape[axis]
        if options['align_corners']:
            place = np.arange(after) * ((before - 1) / max(after - 1, 1))
        elif options['half_pixel']:
            place = np.maximum((np.arange(after) + 0.5) * before / after - 0.5, 0)
        else:
            place = np.arange(after) * before / after
        low = np.minimum(np.floor(place).astype(int), before - 1)
        high, share = np.minimum(low + 1, before - 1), (place - low).astype(np.float32)
        matrix = np.zeros((after, before), np.float32)
        np.add.at(matrix, (np.arange(after), low), 1 - share)
        np.add.at(matrix, (np.arange(after), high), share)
        image = jnp.moveaxis(jnp.tensordot(matrix, image, ((1,), (axis,))), 0, axis)
    return image


def _depth_to_space(given: Sequence[Any], options: Mapping[str, Any], _: Sequence[int]) -> jax.Array:
    count, height, width, channels = given[0].shape
    block = options['block']
    split = given[0].reshape(count, height, width, block, block, channels // block**2)
    return split.transpose(0, 1, 3, 2, 4, 5).reshape(count, height * block, width * block, -1)


def _strided_slice(given: Sequence[Any], options: Mapping[str, Any], shape: Sequence[int]) -> jax.Array:
    values, *bounds = given
    begin, end, step = (_numbers(bound) for bound in bounds)
    if options['ellipsis_mask'] or options['new_axis_mask'] or options['shrink_mask'] or not len(begin) == len(end):
        raise Broken('a slice with axes of its own')
    cuts = [slice(None)]  # the batch stays whole
    for k in range(1, len(begin)):
        low = None if options['begin_mask'] >> k & 1 else int(begin[k])
        high = None if options['end_mask'] >> k & 1 else int(end[k])
        cuts.append(slice(low, high, int(step[k])))
    return values[tuple(cuts)]


def _pad(given: Sequence[Any], _: Mapping[str, Any], __: Sequence[int]) -> jax.Array:
    border = _numbers(given[1])
    if border.min() < 0 or border.max() > 1024:
        raise Broken('an odd border')
    return jnp.pad(given[0], border.tolist())


def _numbers(value: Any) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise Broken('a setting that is computed')
    return value


def _concatenated(given: Sequence[Any], options: Mapping[str, Any], _: Sequence[int]) -> jax.Array:
    if options['axis'] == 0:
        raise Broken('images are joined into a batch')
    return _activated(jnp.concatenate(given, options['axis']), options)


def _reshape(given: Sequence[Any], _: Mapping[str, Any], shape: Sequence[int]) -> jax.Array:
    return given[0].reshape(-1, *shape[1:])


# MediaPipe's own, as `mediapipe/util/tflite/operations` has them (version 2): the attention of the face mesh.


def _crop_of_landmarks(given: Sequence[Any], options: Mapping[str, Any], _: Sequence[int]) -> jax.Array:
    """Landmarks2TransformMatrix: landmarks [B, N, 3] in pixels -> [B, 4, 4], pixels of a crop to those of the image.

    The crop stands upright with the line between two landmarks, around the box of some of them.
    """
    points = given[0][..., :2]
    chosen = np.asarray(options['subset_idxs'])
    left, right = int(options['left_rotation_idx']), int(options['right_rotation_idx'])
    if not all(0 <= k < points.shape[1] for k in (left, right, *chosen.tolist())):
        raise Broken('a landmark that is not there')
    across = points[:, right] - points[:, left]
    angle = options['target_rotation_radians'] - jnp.arctan2(across[:, 1], across[:, 0])
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.stack([jnp.stack([cosine, -sine], -1), jnp.stack([sine, cosine], -1)], -2)
    turned = jnp.einsum('bij,bnj->bni', turn, points[:, chosen])
    low, high = turned.min(1), turned.max(1)
    centre = jnp.einsum('bji,bj->bi', turn, (low + high) / 2)
    size = np.array([options['output_width'], options['output_height']], np.float32)
    scale = (high - low) * np.array([options['scale_x'], options['scale_y']], np.float32) / size
    linear = jnp.swapaxes(turn, 1, 2) * scale[:, None]
    shift = centre - jnp.einsum('bij,j->bi', linear, size / 2)
    matrix = jnp.broadcast_to(jnp.eye(4), (len(points), 4, 4))
    return matrix.at[:, :2, :2].set(linear).at[:, :2, 3].set(shift)


def _cropped(given: Sequence[Any], options: Mapping[str, Any], shape: Sequence[int]) -> jax.Array:
    """TransformTensorBilinear: images [B, H, W, C] seen through matrices [B, 4, 4]; 0 outside."""
    image, matrix = given
    height, width = image.shape[1:3]
    grid = np.stack(np.meshgrid(np.arange(shape[2]), np.arange(shape[1])), -1) + 0.5
    at = jnp.einsum('bij,hwj->bhwi', matrix[:, :2, :2], grid) + matrix[:, None, None, :2, 3] - 0.5
    x, y = at[..., 0], at[..., 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    left, top = (jnp.clip(jnp.floor(c), 0, n - 1).astype(int) for c, n in ((x, width), (y, height)))
    read = jax.vmap(lambda picture, rows, columns: picture[rows, columns])
    made = jnp.zeros((*x.shape, image.shape[-1]))
    for dy in (0, 1):
        for dx in (0, 1):
            share = (1 - jnp.abs(y - top - dy)) * (1 - jnp.abs(x - left - dx))
            corner = read(image, jnp.minimum(top + dy, height - 1), jnp.minimum(left + dx, width - 1))
            made += share[..., None] * corner
    return made * inside[..., None]


def _moved(given: Sequence[Any], _: Mapping[str, Any], __: Sequence[int]) -> jax.Array:
    """TransformLandmarks: points [B, N, 2] by matrices [B, 4, 4]."""
    points, matrix = given
    if points.shape[-1] != 2:
        raise Broken('landmarks with depth')
    return jnp.einsum('bij,bnj->bni', matrix[:, :2, :2], points) + matrix[:, None, :2, 3]


ACTIVATIONS: Mapping[int, Callable[[jax.Array], jax.Array]] = {
    0: lambda x: x, 1: jax.nn.relu, 3: lambda x: jnp.clip(x, 0, 6),
}  # fmt: skip
BUILTIN = {
    0: 'ADD', 2: 'CONCATENATION', 3: 'CONV_2D', 4: 'DEPTHWISE_CONV_2D', 5: 'DEPTH_TO_SPACE', 6: 'DEQUANTIZE',
    17: 'MAX_POOL_2D', 18: 'MUL', 19: 'RELU', 22: 'RESHAPE', 23: 'RESIZE_BILINEAR', 34: 'PAD', 45: 'STRIDED_SLICE',
    54: 'PRELU', 124: 'DENSIFY',
}  # fmt: skip
CUSTOM_OPERATIONS = {
    'Landmarks2TransformMatrix': _crop_of_landmarks, 'TransformTensorBilinear': _cropped, 'TransformLandmarks': _moved,
}  # fmt: skip
RUN: Mapping[str, Callable[[Sequence[Any], Mapping[str, Any], Sequence[int]], jax.Array]] = {
    'ADD': lambda given, options, _: _activated(given[0] + given[1], options),
    'MUL': lambda given, options, _: _activated(given[0] * given[1], options),
    'RELU': lambda given, _, __: jax.nn.relu(given[0]),
    'PRELU': lambda given, _, __: jnp.maximum(given[0], 0) + given[1] * jnp.minimum(given[0], 0),
    'CONCATENATION': _concatenated,
    'CONV_2D': _convolution,
    'DEPTHWISE_CONV_2D': _depthwise,
    'DEPTH_TO_SPACE': _depth_to_space,
    'MAX_POOL_2D': _max_pool,
    'PAD': _pad,
    'RESHAPE': _reshape,
    'RESIZE_BILINEAR': _resize,
    'STRIDED_SLICE': _strided_slice,
    **CUSTOM_OPERATIONS,
}
# Of each operation's options: name -> (number in the schema, struct code, default).
_STRIDES = {'padding': (0, 'b', 0), 'stride_w': (1, 'i', 1), 'stride_h': (2, 'i', 1)}
OPTIONS: Mapping[str, Mapping[str, tuple[int, str, int]]] = {
    'ADD': {'activation': (0, 'b', 0)},
    'MUL': {'activation': (0, 'b', 0)},
    'CONCATENATION': {'axis': (0, 'i', 0), 'activation': (1, 'b', 0)},
    'CONV_2D': _STRIDES | {'activation': (3, 'b', 0), 'dilation_w': (4, 'i', 1), 'dilation_h': (5, 'i', 1)},
    'DEPTHWISE_CONV_2D': _STRIDES | {'activation': (4, 'b', 0), 'dilation_w': (5, 'i', 1), 'dilation_h': (6, 'i', 1)},
    'DEPTH_TO_SPACE': {'block': (0, 'i', 0)},
    'MAX_POOL_2D': _STRIDES | {'width': (3, 'i', 0), 'height': (4, 'i', 0), 'activation': (5, 'b', 0)},
    'RESIZE_BILINEAR': {'align_corners': (2, '?', 0), 'half_pixel': (3, '?', 0)},
    'STRIDED_SLICE': {
        'begin_mask': (0, 'i', 0), 'end_mask': (1, 'i', 0), 'ellipsis_mask': (2, 'i', 0), 'new_axis_mask': (3, 'i', 0),
        'shrink_mask': (4, 'i', 0),
    },
}  # fmt: skip


def in_batches(network: Network, images: np.ndarray) -> list[np.ndarray]:
    """Return the outputs for images [N, H, W, C], N of any size, by programs for few sizes of a batch.

    On CPUs images go one by one, which takes no longer and compiles once; what is left over of a batch does so, too.
    """
    shapes = [network.tensors[k].shape[1:] for k in network.outputs]
    parts: list[list[np.ndarray]] = [[np.zeros((0, *shape), np.float32)] for shape in shapes]
    place, batch = 0, 1 if jax.default_backend() == 'cpu' else BATCH
    while place < len(images):
        size = batch if len(images) - place >= batch else 1
        made = _compiled(network)(np.asarray(images[place : place + size], np.float32))
        for part, output in zip(parts, made):
            part.append(np.asarray(output))
        place += size
    return [np.concatenate(part) for part in parts]


@functools.cache
def _compiled(network: Network) -> Callable[[Any], tuple[jax.Array, ...]]:
    return jax.jit(network)

"""Published ImageNet weights, from PyTorch's files into Flax variables.

Of ResNets two layouts of names are known, told apart by the stem:

* torchvision: ``conv1.weight``, ``layer1.0.bn2.bias``, ``layer2.0.downsample.0.weight``, ``fc.weight``;
* transformers (`ResNetModel`, `ResNetForImageClassification`): ``embedder.embedder.convolution.weight``,
  ``encoder.stages.1.layers.0.shortcut.convolution.weight``, ``classifier.1.weight``, some after ``resnet.``.

Names do not tell where a bottleneck strides. torchvision's weights, and transformers' with
``downsample_in_bottleneck: false``, stride in the 3x3 convolution. transformers writes that setting into the
``config.json`` beside the weights, and `load` compares it to the network where that file is there.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jfrecon import files
from jfrecon.errors import UserError
from jfrecon.nets.resnet import ResNet

LEAVES = {
    'kernel': 'weight', 'scale': 'weight', 'slope': 'weight', 'bias': 'bias', 'mean': 'running_mean',
    'var': 'running_var',
}  # fmt: skip


def read(path: str | Path) -> dict[str, np.ndarray]:
    """The tensors of a .safetensors, .pth, .pt or .bin file as float32 arrays by name.

    Raises:
      UserError: the file is missing, of another kind, damaged, or PyTorch is needed and not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f'{path}: no such weights file')
    if path.suffix == '.safetensors':
        return _read_safetensors(path)
    if path.suffix in ('.pth', '.pt', '.bin'):
        return _read_torch(path)
    raise UserError(f'{path}: weights are read from .safetensors, .pth, .pt or .bin')


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    import safetensors
    from safetensors.flax import load_file  # NumPy's reader does not know bfloat16

    try:
        return {name: np.asarray(x.astype(jnp.float32)) for name, x in load_file(path).items()}
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise UserError(f'{path}: not a complete safetensors file ({_first_line(error)})') from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise UserError(
            f'{path}: reading {path.suffix} needs PyTorch (pip install torch); a .safetensors file does not'
        ) from error
    try:
        tensors = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # damaged zip, hostile pickle and wrong format each raise their own kind
        raise UserError(f'{path}: PyTorch finds no weights in it ({_first_line(error)})') from error
    if not isinstance(tensors, dict) or not all(isinstance(x, torch.Tensor) for x in tensors.values()):
        raise UserError(f'{path}: holds no flat table of tensors; save model.state_dict()')
    return {name: x.float().numpy() for name, x in tensors.items()}


class Layer(NamedTuple):
    """A node of an exported network.

    Attributes:
      kind: ONNX's name of the operator, as in 'Conv'.
      tensors: float32, in the order of its inputs.
      settings: its attributes that are numbers.
    """

    kind: str
    tensors: list[np.ndarray]
    settings: dict[str, float]


def read_onnx(path: str | Path) -> list[Layer]:
    """The nodes of an .onnx file that have tensors of their own, in the order in which they run.

    Raises:
      UserError: the file is missing, damaged or in several parts, or the package onnx is not installed.
    """
    if not Path(path).is_file():
        raise UserError(f'{path}: no such weights file')
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise UserError(f'{path}: reading .onnx needs a package (pip install onnx)') from error
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
        outside = [tensor.name for tensor in graph.initializer if onnx.external_data_helper.uses_external_data(tensor)]
        if outside:
            raise UserError(f'{path}: {outside[0]} lies in another file; save the network in one')
        tensors = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in graph.initializer}
    except UserError:
        raise
    except Exception as error:  # protobuf and onnx each raise their own kind
        raise UserError(f'{path}: not a complete .onnx file ({_first_line(error)})') from error
    found = []
    for node in graph.node:
        settings = {a.name: a.f if a.type == a.FLOAT else a.i for a in node.attribute if a.type in (a.FLOAT, a.INT)}
        found.append(Layer(node.op_type, [tensors[name] for name in node.input if name in tensors], settings))
    return [layer for layer in found if layer.tensors]


def pack(path: Path, variables: dict) -> None:
    """Save nested variables under their own names, half precision."""
    from safetensors.numpy import save

    flat = flatten_dict(variables, sep='/')
    files.write_bytes(path, save({name: np.asarray(value, np.float16) for name, value in flat.items()}))


@functools.lru_cache(maxsize=4)
def unpack(path: str | Path) -> dict:
    """What `pack` saved, as float32, read once; raises as `read`."""
    return unflatten_dict({tuple(name.split('/')): value for name, value in read(path).items()})


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def torchvision_name(path: tuple[str, ...]) -> str:
    """torchvision's name of the variable at ``path``, e.g. ('params', 'layer1_0', 'bn2', 'scale')."""
    *modules, leaf = path[1:]
    name = '.'.join(modules).replace('downsample_conv', 'downsample.0')
    name = name.replace('downsample_bn', 'downsample.1')
    return re.sub(r'^layer(\d+)_(\d+)', r'layer\1.\2', name) + '.' + LEAVES[leaf]


def transformers_name(path: tuple[str, ...]) -> str:
    """The name that transformers' ResNet gives the variable at ``path``, without the prefix 'resnet.'."""
    *modules, leaf = path[1:]
    if modules == ['fc']:
        return 'classifier.1.' + LEAVES[leaf]
    kind = 'convolution' if leaf == 'kernel' else 'normalization'
    if len(modules) == 1:
        return f'embedder.embedder.{kind}.{LEAVES[leaf]}'
    stage, block = modules[0].removeprefix('layer').split('_')
    where = 'shortcut' if modules[1].startswith('downsample') else f'layer.{int(modules[1][-1]) - 1}'
    return f'encoder.stages.{int(stage) - 1}.layers.{block}.{where}.{kind}.{LEAVES[leaf]}'


def load(path: str | Path, model: ResNet, variables: dict, classifier: bool = True) -> dict:
    """``variables`` of a `ResNet` replaced by the weights in a file.

    Args:
      path: see `read`.
      model: the network, for its stride placement.
      variables: {'params', 'batch_stats'} of ``model.init``: names and shapes to fill (shapes from
        ``jax.eval_shape`` will do when every one is to be filled).
      classifier: also fill the fully connected layer; else it keeps its values, and the file's is ignored.

    Raises:
      UserError: every name that is missing, left over or of another shape, in one message.
    """
    path = Path(path)
    tensors = {name.removeprefix('resnet.'): x for name, x in read(path).items()}
    transformers = 'embedder.embedder.convolution.weight' in tensors
    if transformers:
        _check_stride(path, model)
    name_of = transformers_name if transformers else torchvision_name
    heads = ('classifier.',) if transformers else ('fc.',)
    if classifier and model.outputs is not None:
        return fill(path, tensors, variables, name_of)
    kept = {c: {name: x for name, x in variables[c].items() if name == 'fc'} for c in ('params', 'batch_stats')}
    body = {c: {name: x for name, x in variables[c].items() if name != 'fc'} for c in ('params', 'batch_stats')}
    filled = fill(path, tensors, body, name_of, ignored=heads)
    return {c: filled[c] | kept[c] for c in filled}


def fill(
    path: str | Path,
    tensors: Mapping[str, np.ndarray],
    variables: dict,
    name_of: Callable[[tuple[str, ...]], str],
    ignored: tuple[str, ...] = (),
) -> dict:
    """``variables`` {'params', 'batch_stats'} replaced by the tensors of a file.

    Args:
      path: of the file, for messages.
      tensors: PyTorch's layouts, by name.
      name_of: path of a variable -> name of its tensor.
      ignored: how the names of tensors begin that nobody has to ask for.

    Raises:
      UserError: every name that is missing, left over or of another shape, in one message.
    """
    unused = {name for name in tensors if name.endswith('num_batches_tracked') or name.startswith(ignored)}
    filled, missing, mismatched = {}, [], []
    for key, target in flatten_dict({c: variables[c] for c in ('params', 'batch_stats')}).items():
        name = name_of(key)
        if name not in tensors:
            missing.append(name)
            continue
        unused.add(name)
        value = _to_flax(tensors[name])
        if value.shape != target.shape:
            mismatched.append(f'{name} {value.shape} for {tuple(target.shape)}')
        filled[key] = jnp.asarray(value)
    unexpected = sorted(tensors.keys() - unused)
    complaints = [
        ('missing', missing),
        ('unexpected', unexpected),
        ('mismatched (in our layout)', mismatched),
    ]
    if any(names for _, names in complaints):
        listed = '; '.join(f'{kind}: {", ".join(names)}' for kind, names in complaints if names)
        raise UserError(f'{path}: these are not the weights of this network; {listed}')
    return unflatten_dict(filled)


def _to_flax(x: np.ndarray) -> np.ndarray:
    """[out, in, h, w] -> [h, w, in, out] for convolutions, [out, in] -> [in, out] for dense layers."""
    return x.transpose(2, 3, 1, 0) if x.ndim == 4 else x.T


def _check_stride(path: Path, model: ResNet) -> None:
    config = path.with_name('config.json')
    if not config.is_file() or not model.bottleneck:
        return
    try:
        given = bool(files.read_json(config).get('downsample_in_bottleneck', False))
    except (ValueError, AttributeError) as error:
        raise UserError(f'{config}: not the JSON settings of a ResNet') from error
    if given != model.stride_in_first:
        raise UserError(
            f'{config}: says downsample_in_bottleneck={given}, but the network has stride_in_first='
            f'{model.stride_in_first}; take weights of the other kind'
        )

"""Convolutions of an OpenVINO graph that keep their channels in blocks, so that features are joined without copying.

OpenVINO would choose an order of memory, all channels of a pixel side by side, in which a dense layer's new channels
cannot be written behind those before them: each of DenseNet-121's 58 layers copies everything that came before. Its
older convolutions keep 8 or 16 channels of a pixel together, block after block, and are as fast; there, the layers of a
dense block write into one piece of memory.
Which convolutions are preferred stands in an attribute that Python cannot set on a node (``primitives_priority``), so
the graph is written out and read back with it. A processor, or an OpenVINO, that knows none of the names makes its own
choice: slower, with the same result. So it is where no folder for temporary files takes the graph: a full disk is no
reason not to analyse.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from model.quiet_openvino import openvino

_log = logging.getLogger(__name__)
_PREFERRED = "cpu:jit_avx512_1x1,cpu:jit_avx512,cpu:jit_avx2_1x1,cpu:jit_avx2"
"""For filters of 1 x 1 and for larger ones; a processor without AVX-512 has none of the first two."""


def with_channels_in_blocks(network: Any) -> Any:
    """Return the same ``openvino.Model`` with that preference at each of its convolutions, if it can be written out."""
    try:
        return _with_preference(network)
    except (OSError, RuntimeError, ElementTree.ParseError) as error:  # the last two: it was written in part
        _log.warning("the network is a little slower: its graph cannot be written out (%s)", type(error).__name__)
        return network


def _with_preference(network: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        graph, weights = Path(folder) / "graph.xml", Path(folder) / "graph.bin"
        openvino.serialize(network, graph, weights)
        tree = ElementTree.parse(graph)  # noqa: S314 (written the line before)
        for layer in tree.iterfind("layers/layer[@type='Convolution']"):
            facts = layer.find("rt_info")
            if facts is None:
                facts = ElementTree.Element("rt_info")
                layer.insert(1, facts)  # behind its "data", as the format has it
            attribute = {"name": "primitives_priority", "version": "0", "value": _PREFERRED}
            ElementTree.SubElement(facts, "attribute", attribute)
        tree.write(graph)
        return openvino.Core().read_model(graph, weights)

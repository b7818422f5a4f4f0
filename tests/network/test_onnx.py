"""Networks as ONNX files: the same outputs in another runtime, at any batch size."""

import pytest
import torch
from torch import nn

from hwopt.errors import InvalidInput
from hwopt.network.onnx import write_onnx


class Blocks(nn.Module):
    """What the networks of the search spaces are made of."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 10))

    def forward(self, x):
        y = self.stem(x)
        return self.head(y + nn.functional.hardswish(self.depthwise(y)))


def test_onnxruntime_gives_the_same_outputs_at_any_batch_size(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    network = Blocks()
    network(torch.randn(8, 3, 16, 16))  # moves the running means of the batch norm
    write_onnx(network, (3, 16, 16), tmp_path / "network.onnx")
    assert network.training
    session = runtime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    network.eval()
    for n in (1, 5):
        images = torch.randn(n, 3, 16, 16)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        assert torch.allclose(torch.from_numpy(logits), network(images), atol=1e-5)


def test_a_network_that_onnx_cannot_express_is_an_error_and_leaves_no_file(tmp_path, monkeypatch):
    def fail(network, images, path, **options):
        path.write_bytes(b"part of a file")
        raise RuntimeError("no operator for fft\nand much more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(InvalidInput, match="the network cannot be written as ONNX: no operator for fft$"):
        write_onnx(nn.Linear(4, 4), (4,), tmp_path / "network.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_an_error_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("hwopt.network.onnx.find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"needs onnx and onnxscript: pip install 'hwopt\[onnx\]'"):
        write_onnx(nn.Linear(2, 2), (2,), tmp_path / "network.onnx")

"""Networks by their names."""

import pytest

from segdemo.errors import UserError
from segdemo.training import architectures


@pytest.mark.parametrize("name", ["unet", "unet_plain", "segnet", "bayesian_segnet"])
def test_a_network_without_an_output_stride_says_why(name):
    with pytest.raises(
        UserError, match=f"{name} has no output stride to choose, since its decoder climbs over"
    ):
        architectures.build(name, output_stride=16)


def test_an_option_there_is_not_is_told():
    with pytest.raises(
        UserError, match="fcn8s has no option 'depth': choose from dropout, encoder, fc_filters"
    ):
        architectures.build("fcn8s", depth=3)


def test_the_others_take_one():
    model = architectures.build("fcn16s", 4, encoder="mobilenet_v2", fc_filters=8, output_stride=16)
    assert model.get_layer("fc6").dilation_rate == (2, 2)

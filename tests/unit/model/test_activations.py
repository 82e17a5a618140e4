"""What passes between units: gradients leave a unit of several inputs in memory of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from planner.model.activations import bytes_of_all, each, first_of, owned, tensors_of


def _gradients(through_owned: bool) -> list[Tensor]:
    """What comes back to two tensors that are joined."""
    torch.manual_seed(0)
    found: list[Tensor] = []
    both = tuple(torch.randn(2, 3, 4, 4, requires_grad=True) * 1 for _ in range(2))
    for tensor in both:
        tensor.register_hook(found.append)  # type: ignore[no-untyped-call]  # torch gives it no type
    given = owned(both) if through_owned else both
    (torch.cat(given, 1) * torch.randn(2, 6, 4, 4)).sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    return found


def test_a_gradient_that_is_a_view_of_a_larger_one_is_copied() -> None:
    plain, own = _gradients(False), _gradients(True)
    assert all(torch.equal(*pair) for pair in zip(plain, own, strict=True))
    assert [each.untyped_storage().nbytes() for each in plain] == [2 * each.nbytes for each in plain]
    assert [each.untyped_storage().nbytes() for each in own] == [each.nbytes for each in own]


def test_a_gradient_with_memory_of_its_own_is_passed_on() -> None:
    leaf = torch.ones(2, 3, requires_grad=True)
    seen: list[int] = []
    inside = leaf * 1
    inside.register_hook(lambda gradient: seen.append(gradient.data_ptr()))  # type: ignore[no-untyped-call]  # torch gives it no type
    (passed,) = owned((inside,))
    passed.register_hook(lambda gradient: seen.append(gradient.data_ptr()))  # type: ignore[no-untyped-call]  # torch gives it no type
    (passed * 2).sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    assert len(set(seen)) == 1


def test_what_needs_no_gradient_stays_without() -> None:
    image, leaf = torch.ones(2, 3), torch.ones(2, 3, requires_grad=True)
    given = owned((image, leaf))
    assert given[0] is image and given[1].requires_grad and given[1].data_ptr() == leaf.data_ptr()
    assert owned((image, image)) == (image, image)
    with torch.no_grad():
        assert owned((image, leaf))[1] is leaf


def test_a_gradient_that_never_comes_is_none() -> None:
    one, other = (torch.ones(2, requires_grad=True) for _ in range(2))
    owned((one, other))[0].sum().backward()  # type: ignore[no-untyped-call]  # torch gives it no type
    assert one.grad is not None and other.grad is None


def test_one_or_several() -> None:
    one, other = torch.ones(2, 3), torch.ones(2)
    assert tensors_of(one) == (one,) and tensors_of((one, other)) == (one, other)
    assert first_of((other, one)) is other and first_of(one) is one
    assert bytes_of_all((one, other)) == 32
    doubled = each((one, other), lambda tensor: 2 * tensor)
    assert isinstance(doubled, tuple) and float(doubled[1][0]) == 2.0 and isinstance(each(one, torch.neg), Tensor)

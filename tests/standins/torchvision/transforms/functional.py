def pil_to_tensor(*_args: object, **_named: object) -> None:
    raise NotImplementedError("there is no torchvision here, only a stand-in")

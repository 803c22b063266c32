"""A folder that the encoder's own library loads, without this package."""

from weatherproof.verbs.export.hub.folder import Made, hub_folder
from weatherproof.verbs.export.hub.push import push_folder, require_hub

__all__ = ["Made", "hub_folder", "push_folder", "require_hub"]

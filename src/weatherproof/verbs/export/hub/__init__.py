"""A folder that the encoder's own library loads, without this package."""

from weatherproof.verbs.export.hub.folder import HubFolder, hub_folder
from weatherproof.verbs.export.hub.push import push_folder, require_hub

__all__ = ["HubFolder", "hub_folder", "push_folder", "require_hub"]

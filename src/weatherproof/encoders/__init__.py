"""What turns an image into an embedding: networks written here, and adapters to timm, torchvision and open_clip."""

from weatherproof.encoders.checked import PreprocessingCheck, check_preprocessing
from weatherproof.encoders.encoder import Encoder
from weatherproof.encoders.folder import save_encoder
from weatherproof.encoders.gauge import Gauge, Reading, fit_gauge
from weatherproof.encoders.load import load_encoder, require_weights
from weatherproof.encoders.maps import MapPlace, embedded_with_map, map_place
from weatherproof.encoders.native import ENCODERS
from weatherproof.encoders.preprocessing import Preprocessing
from weatherproof.encoders.taps import stages, tapped
from weatherproof.encoders.towers import TextTower, text_tower
from weatherproof.encoders.weights import read_weights

__all__ = [
    "ENCODERS", "Encoder", "Gauge", "MapPlace", "Preprocessing", "PreprocessingCheck", "Reading", "TextTower",
    "check_preprocessing", "embedded_with_map", "fit_gauge",
    "load_encoder", "map_place", "read_weights", "require_weights", "save_encoder", "stages", "tapped", "text_tower",
]  # fmt: skip

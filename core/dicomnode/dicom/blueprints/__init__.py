"""Ready-made blueprints."""

from dicomnode.dicom.blueprints.common import (
    derived_image_blueprint,
    equipment_blueprint,
    geometry_blueprint,
    patient_blueprint,
    series_blueprint,
    study_blueprint,
)

__all__ = [
    "derived_image_blueprint",
    "equipment_blueprint",
    "geometry_blueprint",
    "patient_blueprint",
    "series_blueprint",
    "study_blueprint",
]

from .common import equipment_blueprint as equipment_blueprint
from .common import geometry_blueprint as geometry_blueprint
from .common import patient_blueprint as patient_blueprint
from .common import series_blueprint as series_blueprint
from .common import study_blueprint as study_blueprint
from .document import encapsulated_pdf_blueprint as encapsulated_pdf_blueprint
from .document import pdf_blueprint as pdf_blueprint
from .dose import rt_dose_blueprint as rt_dose_blueprint
from .enhanced import enhanced_ct_blueprint as enhanced_ct_blueprint
from .enhanced import enhanced_mr_blueprint as enhanced_mr_blueprint
from .enhanced import parametric_map_blueprint as parametric_map_blueprint
from .highdicom_results import report_blueprint as report_blueprint
from .highdicom_results import segmentation_blueprint as segmentation_blueprint
from .nuclear_medicine import nm_blueprint as nm_blueprint
from .secondary_capture import multiframe_grayscale_byte_blueprint as multiframe_grayscale_byte_blueprint
from .secondary_capture import multiframe_grayscale_word_blueprint as multiframe_grayscale_word_blueprint
from .secondary_capture import multiframe_true_color_blueprint as multiframe_true_color_blueprint
from .secondary_capture import secondary_capture_blueprint as secondary_capture_blueprint
from .slices import ct_blueprint as ct_blueprint
from .slices import derived_image_blueprint as derived_image_blueprint
from .slices import mr_blueprint as mr_blueprint
from .slices import pet_blueprint as pet_blueprint

__all__ = [
    "ct_blueprint",
    "derived_image_blueprint",
    "encapsulated_pdf_blueprint",
    "enhanced_ct_blueprint",
    "enhanced_mr_blueprint",
    "equipment_blueprint",
    "geometry_blueprint",
    "mr_blueprint",
    "multiframe_grayscale_byte_blueprint",
    "multiframe_grayscale_word_blueprint",
    "multiframe_true_color_blueprint",
    "nm_blueprint",
    "parametric_map_blueprint",
    "patient_blueprint",
    "pdf_blueprint",
    "pet_blueprint",
    "report_blueprint",
    "rt_dose_blueprint",
    "secondary_capture_blueprint",
    "segmentation_blueprint",
    "series_blueprint",
    "study_blueprint",
]

"""Ready-made blueprints, by IOD: taken as they are, or as a start, ``ct_blueprint + StaticElement(...)``.

Each is checked against its SOP class when it is first used, so they are loaded one by one.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

"""An OpenAI-compatible endpoint for pairs of models, as an ASGI application. This needs the extra `serve`.

from glimp_core.serve import ServedPair, application

app = application([ServedPair("glimp", GlimpRouter.from_pretrained(small, large))])
"""

try:
    from glimp_core.serve.application import application
except ModuleNotFoundError as error:
    if error.name not in ("prometheus_client", "sse_starlette", "starlette"):
        raise  # the package is installed, but one of its own dependencies is not
    raise ImportError(f'glimp_core.serve needs {error.name}: pip install "glimp[serve]"') from error

from glimp_core.serve.catalogue import ServedPair
from glimp_core.serve.service_settings import ServiceSettings

__all__ = ["ServedPair", "ServiceSettings", "application"]

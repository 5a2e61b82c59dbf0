"""References to live objects (engines, routers), so that what holds one can be compared, copied and pickled."""

import uuid
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from glimp_core.errors import ConfigError
from glimp_core.forking import Lock

_lock = Lock()
_living: "WeakValueDictionary[str, Any]" = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands for an object of this process; two references are equal when they stand for the same object."""

    key: str
    description: str = ""

    @classmethod
    def to(cls, living: Any) -> "Reference":
        """Return the reference to an object, which it does not keep alive."""
        with _lock:  # others that come into being meanwhile would change the table that is looked through
            key = next((key for key, value in list(_living.items()) if value is living), None) or uuid.uuid4().hex
            _living[key] = living
        return cls(key, type(living).__name__)

    def resolve(self) -> Any:
        """Return the object. Raises `ConfigError` if it is gone, or lives in another process."""
        if (living := _living.get(self.key)) is None:
            raise ConfigError(
                f"this {self.description} is gone, or lives in another process: what holds one can be unpickled only "
                "where it was pickled; name the models (small='...', large='...') to pickle for elsewhere"
            )
        return living

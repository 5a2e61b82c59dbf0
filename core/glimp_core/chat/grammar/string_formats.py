"""The formats of strings, as patterns that a grammar can enforce."""

_YEAR = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_MONTHS = (
    "(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])",
    "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)",
    "02-(?:0[1-9]|1[0-9]|2[0-8])",
)
_DATE = f"(?:{_YEAR}-(?:{'|'.join(_MONTHS)})|{_LEAP_YEAR}-02-29)"
_HOUR = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_HOUR}:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:[Zz]|[+-]{_HOUR})"
_COUNT = "[0-9]{1,6}"
_CLOCK = f"T(?:{_COUNT}H(?:{_COUNT}M(?:{_COUNT}S)?)?|{_COUNT}M(?:{_COUNT}S)?|{_COUNT}S)"
_DAYS = f"(?:{_COUNT}Y(?:{_COUNT}M(?:{_COUNT}D)?)?|{_COUNT}M(?:{_COUNT}D)?|{_COUNT}D)"
_DURATION = f"P(?:{_COUNT}W|{_DAYS}(?:{_CLOCK})?|{_CLOCK})"

_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOSTNAME = rf"{_LABEL}(?:\.{_LABEL}){{0,6}}"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_HEX = "[0-9A-Fa-f]"
_WORD = f"{_HEX}{{1,4}}"
_IPV6 = "|".join(
    [f"(?:{_WORD}:){{7}}{_WORD}", "::", f"(?:{_WORD}:){{1,7}}:"]
    + [f"(?:{_WORD}:){{1,{7 - n}}}(?::{_WORD}){{1,{n}}}" for n in range(1, 7)]
    + [f":(?::{_WORD}){{1,7}}"]
)
_IPV6_INTERFACE = f"(?:{_IPV6})(?:/(?:[1-9]?[0-9]|1[01][0-9]|12[0-8]))?"
_UUID = f"{_HEX}{{8}}-{_HEX}{{4}}-%s{_HEX}{{3}}-%s{_HEX}{{3}}-{_HEX}{{12}}"
_PATH = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_QUERY = rf"(?:\?(?:{_PATH}|[/?])*)?(?:#(?:{_PATH}|[/?])*)?"
_AUTHORITY = rf"//{_HOSTNAME}(?::[0-9]{{1,4}})?(?:/{_PATH}*)*"
_URI = rf"[A-Za-z][A-Za-z0-9+.-]{{0,20}}:(?:{_AUTHORITY}|{_PATH}+(?:/{_PATH}*)*){_QUERY}"
_BASE64 = "(?:[A-Za-z0-9{0}]{{4}})*(?:[A-Za-z0-9{0}]{{2}}==|[A-Za-z0-9{0}]{{3}}=)?"

PATTERNS: dict[str, str] = {
    "date": _DATE, "time": _TIME, "date-time": f"{_DATE}[Tt]{_TIME}", "duration": _DURATION,
    "hostname": _HOSTNAME,
    "ipv4interface": rf"{_IPV4}(?:/(?:[12]?[0-9]|3[0-2]))?", "ipv4": _IPV4,
    "ipv6": _IPV6, "ipvanyaddress": f"{_IPV4}|{_IPV6}",
    "ipv6interface": _IPV6_INTERFACE, "ipvanyinterface": f"{_IPV4}|{_IPV6_INTERFACE}",
    "uuid": _UUID % (_HEX, _HEX), **{f"uuid{n}": _UUID % (n, "[89abAB]") for n in range(1, 9)},
    "uri": _URI, "uri-reference": rf"{_URI}|(?:/{_PATH}*)*{_QUERY}", "json-pointer": "(?:/(?:[^~/]|~[01])*)*",
    "base64": _BASE64.format("+/"), "base64url": _BASE64.format("_-"),
}  # fmt: skip
"""What a grammar holds a format to. Each text is one of the format; of rare forms, such as hosts in brackets,
some are left out."""

HELD_FORMATS = frozenset({"email", *PATTERNS})
"""The formats that a grammar holds; e-mail addresses in llguidance's own way."""
CHECKED_FORMATS = frozenset({"regex", "idn-email", "ipv4network", "ipv6network", "ipvanynetwork"})
"""The formats that only a whole value can be checked for. Any other one is what the standard says it is: a remark."""

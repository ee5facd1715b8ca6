"""What no webhook may reach, in every spelling that some parser or resolver has taken for it. Data for two tests.

`HOSTS` and `URLS` are refused before any name is resolved; `ADDRESSES` when a name resolves to them. Families are
generated: every address below in every spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_network

NETWORKS = (
    # the table of what others let through, row by row
    *("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.169.254/32", "fc00::/7", "fe80::/10"),
    "100.64.0.0/10",
    "0.0.0.1/32",
    *("192.0.0.8/32", "192.88.99.1/32"),
    *("198.18.0.0/15", "192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4", "2001:db8::/32"),
    *("224.0.0.0/4", "ff02::/16"),
    *("::7f00:1/128", "::ffff:0:7f00:1/128"),
    *("64:ff9b::7f00:1/128", "2002:7f00:1::/48"),
    *("64:ff9b:1::/48", "3fff::/20", "5f00::/16"),
    *("2001::/32", "fec0::/10", "2001:2::/48"),
    # and around it
    *("0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.88.99.0/24", "255.255.255.255/32", "::1/128", "::/128"),
    *("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "2002::/16", "100::/64", "2001:10::/28", "ff00::/8"),
    *("2001:20::/28", "2001:1::1/128", "2001:3::/32", "2001:4:112::/48", "2620:4f:8000::/48", "4000::/3", "8000::/1"),
    *("192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24"),
    # metadata: AWS (also ECS, EKS and version 6), Alibaba, Oracle, Azure's wire server, Tencent
    *("169.254.170.2/32", "169.254.170.23/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "100.100.100.200/32"),
    *("192.0.0.192/32", "168.63.129.16/32", "169.254.0.23/32"),
)
SPELLED = tuple(
    IPv4Address(address)
    for address in (
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.100.100.200", "168.63.129.16"),
        "8.8.8.8",  # public: an address is no name
    )
)

# ── Version 4 as text ───────────────────────────────────────────────────────────────────────────────────────────

_FOREIGN_DIGITS = {
    "full-width": "０１２３４５６７８９",
    "circled": "⓪①②③④⑤⑥⑦⑧⑨",
    "superscript": "⁰¹²³⁴⁵⁶⁷⁸⁹",
    "bold": "𝟎𝟏𝟐𝟑𝟒𝟓𝟔𝟕𝟖𝟗",
    "monospace": "𝟶𝟷𝟸𝟹𝟺𝟻𝟼𝟽𝟾𝟿",
    "Arabic": "٠١٢٣٤٥٦٧٨٩",
    "Devanagari": "०१२३४५६७८९",
}


def _digits(digits: str) -> Callable[[IPv4Address], str]:
    return lambda address: str(address).translate(dict(zip(map(ord, "0123456789"), digits, strict=True)))


def _parts(*spelled: str) -> Callable[[IPv4Address], str]:
    """Each part in a format of its own."""
    return lambda address: ".".join(format_.format(part) for format_, part in zip(spelled, address.packed, strict=True))


def _dots(dot: str) -> Callable[[IPv4Address], str]:
    return lambda address: str(address).replace(".", dot)


_V4: Mapping[str, Callable[[IPv4Address], str]] = {
    "dotted": str,
    "with a final dot": "{}.".format,
    "with two": "{}..".format,
    "with a dot before it": ".{}".format,
    "one number": lambda address: str(int(address)),
    "one number in hex": lambda address: f"{int(address):#x}",
    "one number in shouted hex": lambda address: f"0X{int(address):08X}",
    "one number in padded hex": lambda address: f"0x00000000{int(address):08x}",
    "one number in octal": lambda address: f"0{int(address):o}",
    "one number that wraps around": lambda address: str(int(address) + 2**32),
    "one number in hex that wraps around": lambda address: f"0x1{int(address):08x}",
    "two parts": lambda address: f"{address.packed[0]}.{int(address) % 2**24}",
    "two parts, the last in hex": lambda address: f"{address.packed[0]}.{int(address) % 2**24:#x}",
    "three parts": lambda address: f"{address.packed[0]}.{address.packed[1]}.{int(address) % 2**16}",
    "hex": _parts("{:#x}", "{:#x}", "{:#x}", "{:#x}"),
    "octal": _parts("0{:o}", "0{:o}", "0{:o}", "0{:o}"),
    "long octal": _parts("0000{:o}", "{}", "{}", "0000{:o}"),
    "zeros before": _parts("{:03}", "{:03}", "{:03}", "{:03}"),
    "mixed": _parts("0{:o}", "{:#x}", "{}", "0{:o}"),
    "hex at the end": _parts("{}", "{}", "{}", "{:#x}"),
    "a part that wraps around": lambda address: f"{address.packed[0] + 256}.{str(address).partition('.')[2]}",
    "a fifth part": "{}.0".format,
    "ideographic dots": _dots("。"),
    "full-width dots": _dots("．"),
    "half-width dots": _dots("｡"),
    "encoded dots": _dots("%2e"),
    "encoded": lambda address: "".join(f"%{ord(character):02x}" for character in str(address)),
    "a zero byte behind": "{}%00".format,
    "with a mask": "{}%2f8".format,
    "soft hyphens": _dots(".\u00ad"),
    "zero-width spaces": _dots(".\u200b"),
    **{f"{name} digits": _digits(digits) for name, digits in _FOREIGN_DIGITS.items()},
}

# ── Version 6: its own, and those that carry version 4 ──────────────────────────────────────────────────────────


def _carried(network: str, *, shift: int = 0, mask: int = 0) -> Callable[[IPv4Address], IPv6Address]:
    base = int(IPv6Network(network).network_address)
    return lambda address: IPv6Address(base | (int(address) ^ mask) << shift)


_CARRIERS: Mapping[str, Callable[[IPv4Address], IPv6Address]] = {
    "v4-mapped": _carried("::ffff:0:0/96"),
    "v4-compatible": _carried("::/96"),
    "SIIT": _carried("::ffff:0:0:0/96"),
    "NAT64": _carried("64:ff9b::/96"),
    "local NAT64": _carried("64:ff9b:1::/96"),
    "6to4": _carried("2002::/16", shift=80),
    "Teredo": _carried("2001::/32", mask=0xFFFF_FFFF),
    "Teredo server": _carried("2001::/32", shift=64),
    "ISATAP": _carried("fe80::5efe:0:0/96"),
}
_V6 = (
    *("::1", "::", "0:0:0:0:0:0:0:1", "0000:0000:0000:0000:0000:0000:0000:0001", "0::1", "::0:1", "::0001", "::1%25lo"),
    *("::1%lo", "::1%", "::1%2500", "fe80::1", "fe80::1%eth0", "fe80::1%25eth0", "fe80::1%251", "fe80::1%1", "FE80::A"),
    *("fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "5f00::1", "100::1"),
    *("2001:2::1", "2001:10::1", "2001:20::1", "64:ff9b:1::1", "2606:4700:4700::1111", "2001:4860:4860::8888"),
    *("v1.a", "v1.fe80::a+en1", "vF.127.0.0.1", "", ":", "127.0.0.1", "localhost", "example.com", "::ffff:127.1"),
    *("::ffff:0x7f.1", "::127.0.0.1%eth0", "::ffff:127.0.0.1%25eth0", "::１", "[::1]"),
)


def _carrying(carry: Callable[[IPv4Address], IPv6Address]) -> Iterator[str]:
    for address in SPELLED:
        spelled = carry(address)
        yield from (f"[{spelled}]", f"[{spelled.exploded.upper()}]")
        if not int(spelled) & 0xFFFF_FFFF ^ int(address):  # it ends in the address, which may be written with dots
            before = str(IPv6Address(int(spelled) | 0xFFFF_FFFF)).removesuffix("ffff:ffff")
            yield from (f"[{before}{address}]", f"[{spelled.exploded[:30]}{address}]")


# ── Names ───────────────────────────────────────────────────────────────────────────────────────────────────────

_TOP = (
    *("alt", "arpa", "corp", "home", "internal", "intranet", "invalid", "lan", "local", "localdomain"),
    *("localhost", "onion", "private", "test"),
)
_METADATA = (
    *("metadata", "metadata.google.internal", "Metadata.Google.Internal", "metadata.google.internal.", "instance-data"),
    *("instance-data.ec2.internal", "metadata.azure.internal", "metadata.packet.internal", "_gateway"),
    *("ip-10-0-0-1.eu-west-1.compute.internal", "kubernetes", "api.cluster.local", "consul"),
    *("kubernetes.default.svc.cluster.local", "redis.svc.cluster.local", "host.docker.internal", "rancher"),
    *("gateway.docker.internal", "kube-dns.kube-system.svc.cluster.local", "router", "intranet", "printer.local"),
    *("1.0.0.127.in-addr.arpa", "home.arpa", "1.0.0.0.ip6.arpa", "localhost.localdomain"),
)
_LOCALHOST = (
    *("localhost", "LOCALHOST", "LocalHost", "localhost.", "localhost..", ".localhost", "localhost%00", "%6cocalhost"),
    *("l%6fcalhost", "localhost%2eexample.com", "api.localhost", "a.b.localhost", "localhost6", "ip6-localhost"),
    *("ip6-loopback", "loopback", "broadcasthost", "ｌｏｃａｌｈｏｓｔ", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "ⓁⓄⒸⒶⓁⒽⓄⓈⓉ", "𝐥𝐨𝐜𝐚𝐥𝐡𝐨𝐬𝐭"),
    *("𝓁𝑜𝒸𝒶𝓁𝒽𝑜𝓈𝓉", "loca\u00adlhost", "local\u200bhost", "local\u2060host", "loca\ufe0flhost", "localho\u017ft"),
    *("\u2113ocalhost", "localhost\u3002", "localhost\uff0e", "a\u3002localhost", "xn--localhost", "localhost-.com"),
)
_BROKEN = (
    *("exa_mple.com", "-a.example.com", "a-.example.com", "exa$mple.com", "exa!.com", "a,b.com", "a;b.com", "a&b.com"),
    *("exam%70le.com", "example.com%00.internal", "example.com%2f", "example.com%23"),
    *("example.com%3f", "example.com%5c"),
    *("exa\u200bmple\u2028.com", "ex*.com", "*.example.com", "exa'mple.com", "(example).com"),
    *("a=b.com", "~.com", "a+b.com"),
    *("example.com.", "example.com..", ".example.com", "..example.com", "ex..ample.com", "."),
    *("..", "com", "", "-", "a"),
    *("example.com。", "。example.com", "example。。com", "example.com\u2024internal", "example\u2488com", "℡"),
    *("a" * 64 + ".com", "a" * 254, ".".join(["a"] * 130) + ".com", "ü" * 60 + ".com", "\ufdd0.com", "☃\ufe0f.-"),
    *("xn--.com", "xn--a.com", "xn--a-.com", "xn--999999b.com", "xn--ls8h.xn--", "xn--127.0.0.1"),
    *("xn--0.com", "\u200d.com"),
    *("example.１", "example.0x7f", "example.1", "a.127", "1.2.3.4.5", "999.999.999.999", "0x"),
    *("1", "0", "0x0", "00", "0x7f", "1e3", "1.2", "1.2.3", "4294967296", "18446744073709551617", "0b1111111.0.0.1"),
)  # fmt: skip

HOSTS: Mapping[str, tuple[str, ...]] = {
    **{f"version 4, {name}": tuple(map(spell, SPELLED)) for name, spell in _V4.items()},
    **{f"version 6, {name}": tuple(_carrying(carry)) for name, carry in _CARRIERS.items()},
    "version 6": tuple(f"[{text}]" for text in _V6),
    "version 6, brackets lost": ("[::1", "::1]", "::1", "fe80::1", "]::1[", "[[::1]]", "[::1]a", "a[::1]", "[::1].com"),
    "inner names": tuple(f"{below}{top}" for top in _TOP for below in ("", "x.", "a.b.", "127.0.0.1.")),
    "shouted inner names": tuple(f"Db.{top.upper()}" for top in _TOP),
    "inner names, full-width": tuple(
        "x。" + top.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F)}) for top in _TOP
    ),
    "metadata": _METADATA,
    "localhost": _LOCALHOST,
    "no name": _BROKEN,
}

# ── Whole URLs ──────────────────────────────────────────────────────────────────────────────────────────────────

_SCHEMES = (
    *("http", "HTTP", "ftp", "sftp", "tftp", "file", "gopher", "dict", "ldap", "ldaps", "ws", "wss", "unix", "netdoc"),
    *(
        "jar:https",
        "https+unix",
        "httpss",
        "h\u0442tps",
        "ｈｔｔｐｓ",
        "https\u200b",
        "view-source:https",
        "blob:https",
    ),
)
_PORTS = (
    *(
        "0",
        "1",
        "22",
        "25",
        "53",
        "80",
        "444",
        "2375",
        "3306",
        "5432",
        "6379",
        "8080",
        "8443",
        "9200",
        "11211",
        "65535",
    ),
    *(
        "65536",
        "65979",
        "99999",
        "443443",
        "-1",
        "-443",
        "+443",
        "",
        "a",
        "４４３",
        "④④③",
        "0x1bb",
        " 443",
        "443 ",
        "4%343",
    ),
    *("443:443", ":443", "443:80", "443.", "443@127.0.0.1", "443\\@127.0.0.1"),
)
_SEPARATORS = ("\t", "\n", "\r", "\0", " ", "\x0b", "\x0c", "\x1f", "\x7f", "\x85", "\xa0", "\\", "\u2028", "\u2029")
_EDGES = (*(" ", "\t", "\n", "\0", "\r\n"), "\ufeff", "\u200b", "\u3000")

URLS: Mapping[str, tuple[str, ...]] = {
    "schemes": tuple(f"{scheme}://example.com/" for scheme in _SCHEMES),
    "schemes without a host": (
        *("file:///etc/passwd", "data:text/html,x", "javascript:alert(1)", "about:blank", "mailto:a@example.com"),
        *("gopher://127.0.0.1:6379/_FLUSHALL", "unix:///tmp/x", "https+unix://%2Ftmp%2Fx/", "cid:1", "urn:a:b"),
    ),
    "not absolute": (
        *("//example.com", "example.com", "example.com:443", "/relative", "", "https", "https:", "https:/", "https://"),
        *("https:///path", "https:example.com", "https:/example.com", "https:///example.com", "https:////example.com"),
        *("https:\\\\example.com", "https:/\\example.com", "https//example.com"),
        *(":https://example.com", "://example.com"),
        *("https://?a", "https://#a", "https://:443", "https://@", "https://:@", "https:@127.0.0.1", "https://../a"),
    ),
    "user info": (
        *("https://user@example.com", "https://user:password@example.com", "https://@example.com"),
        *("https://:@example.com"),
        *("https://example.com@127.0.0.1", "https://127.0.0.1@example.com", "https://example.com:443@10.0.0.1/"),
        *("https://a@b@c.com", "https://example.com@@127.0.0.1"),
        *("https://a:b@example.com@127.0.0.1:80/", "https://@@a.com"),
        *("https://example.com%40127.0.0.1", "https://example.com;@127.0.0.1", "https://example.com,127.0.0.1@a.com"),
        *("https://example.com\\@127.0.0.1", "https://127.0.0.1\\@example.com", "https://example.com＠127.0.0.1"),
        *("https://[::1]@example.com", "https://example.com@[::1]", "https://a%00@example.com"),
        *("https://a@example.com:443"),
    ),
    "fragments": (
        *("https://example.com/#", "https://example.com/#a", "https://example.com#", "https://example.com#@127.0.0.1"),
        *("https://example.com#@127.0.0.1/", "https://127.0.0.1#@example.com", "https://127.0.0.1#.example.com"),
        *("https://example.com/#/../@10.0.0.1", "https://example.com?#a", "https://example.com/a?b#c#d"),
    ),
    "a parser's end of the host": (
        *("https://127.0.0.1?.example.com", "https://127.0.0.1/.example.com", "https://127.0.0.1;.example.com"),
        *("https://127.0.0.1\\.example.com", "https://127.0.0.1%23.example.com", "https://127.0.0.1%2f.example.com"),
        *("https://127.0.0.1:443:example.com", "https://127.0.0.1:443.example.com", "https://127.0.0.1 .example.com"),
        *("https://example.com／path", "https://example.com？q", "https://example.com＃a"),
        *("https://example.com\\.internal/"),
        *("https://example.com：443", "https://example.com\uff3c@a.com", "https://a.com,b.com/", "https://a.com|b.com/"),
    ),
    "ports": tuple(f"https://example.com:{port}/" for port in _PORTS),
    "separators in the host": tuple(f"https://exam{character}ple.com/" for character in _SEPARATORS),
    "separators in the path": tuple(f"https://example.com/a{character}b" for character in (*_SEPARATORS, *"é<>")),
    "separators in the scheme": tuple(f"ht{character}tps://example.com/" for character in _SEPARATORS),
    "something before": tuple(f"{edge}https://example.com/" for edge in _EDGES),
    "something behind": tuple(f"https://example.com/{edge}" for edge in (*_EDGES, '"', "`", *"{}|^[]")),
    "headers": (
        "https://example.com/\r\nhost: inside",
        "https://example.com/ HTTP/1.1\r\nx: y",
        "https://a.com\r\n.com/",
    ),
    "half an escape": (
        *("https://example.com/%", "https://example.com/%0", "https://example.com/%zz", "https://example.com?a=%g0"),
        "https://example.com/%u0041",
    ),
    "too long": (
        "https://example.com/" + "a" * 2048,
        "https://" + "a." * 1100 + "com/",
        "https://" + "ü" * 40 + "." + "ü" * 40 + ".com/" + "a" * 1950,  # in ASCII alone
    ),
}  # fmt: skip

# ── What a name may resolve to ──────────────────────────────────────────────────────────────────────────────────


def _of(network: str) -> Iterator[str]:
    """Its first, its last and one in the middle."""
    known = ip_network(network)
    yield from (str(known[0]), str(known[known.num_addresses // 2]), str(known[-1]))


ADDRESSES = tuple(
    dict.fromkeys(
        (
            *(address for network in NETWORKS for address in _of(network)),
            *map(str, SPELLED[:-1]),
            *(str(carry(address)) for carry in _CARRIERS.values() for address in SPELLED),
            *("fe80::1%eth0", "fe80::1%1", "::1%lo", "::ffff:127.0.0.1", "::127.0.0.1", "64:ff9b::127.0.0.1"),
        )
    )
)

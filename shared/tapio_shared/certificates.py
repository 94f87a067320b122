"""An X.509 authority of our own, for the webhook's serving certificates and for test control planes.

ECDSA P-256 throughout: every Kubernetes API server takes it and a key is made in microseconds. There is no clock in
here, `now` is a parameter (milliseconds, as `Clock.now`), so that rotation can be tested at any date. Keys and
serial numbers come from the operating system's cryptographic source, never from the `Random` port: a seeded private
key would be no secret. Refuses to store anything: callers keep the PEM texts.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tapio_shared.errors import TerminalError

CLOCK_SKEW = timedelta(minutes=5)
"""Certificates are valid from this long before `now`, since the reader's clock may be behind the issuer's."""

_COMMON_NAME_LIMIT = 64  # RFC 5280, ub-common-name


class UnusableCertificate(TerminalError):
    """A certificate or key is not PEM, not ECDSA P-256, not an authority's, or the two do not belong together."""


class Usage(StrEnum):
    """What a certificate proves: a server's names, a client's user and groups, or both, for servers among peers."""

    SERVER = "server"
    CLIENT = "client"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key (PKCS #8, not encrypted), both PEM. The key is left out of `repr`."""

    certificate_pem: bytes
    key_pem: bytes

    def __repr__(self) -> str:
        return f"KeyPair(certificate of {len(self.certificate_pem)} bytes, key not shown)"


class CertificateAuthority:
    """A self-signed authority that issues end-entity certificates and nothing else (path length 0)."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        """Use `create` or `load`; `key` must be the certificate's."""
        self._certificate, self._key = certificate, key

    @classmethod
    def create(cls, common_name: str, *, now: int, valid_for: timedelta) -> CertificateAuthority:
        """A new authority, valid from `now` (milliseconds) less `CLOCK_SKEW` until `now + valid_for`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _subject(common_name, ())
        usage = x509.KeyUsage(
            digital_signature=True,
            key_cert_sign=True,
            crl_sign=True,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_moment(now) - CLOCK_SKEW)
            .not_valid_after(_moment(now) + valid_for)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> CertificateAuthority:
        """The authority as `certificate_pem` and `key_pem` hold it; `UnusableCertificate` when they don't fit."""
        certificate, key = _parse_certificate(certificate_pem), _parse_key(key_pem)
        if not _is_authority(certificate):
            raise UnusableCertificate(
                f"The certificate of {certificate.subject.rfc4514_string()} is no authority's: it may not issue others."
            )
        _check_key(certificate, key)
        return cls(certificate, key)

    @property
    def certificate_pem(self) -> bytes:
        """What clients trust: a webhook's `caBundle`, a kubeconfig's `certificate-authority-data`."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, PKCS #8 PEM, not encrypted."""
        return _private_pem(self._key)

    @property
    def expires_at(self) -> int:
        """When the authority and everything it issued end, milliseconds."""
        return _milliseconds(self._certificate.not_valid_after_utc)

    def check(self, pair: KeyPair) -> None:
        """`UnusableCertificate` unless this authority issued the certificate of `pair` and the key belongs to it."""
        certificate, key = _parse_certificate(pair.certificate_pem), _parse_key(pair.key_pem)
        try:
            certificate.verify_directly_issued_by(self._certificate)
        except (ValueError, TypeError, InvalidSignature) as err:
            raise UnusableCertificate(
                f"The certificate of {certificate.subject.rfc4514_string()} was not issued by "
                f"{self._certificate.subject.rfc4514_string()}."
            ) from err
        _check_key(certificate, key)

    def issue(
        self,
        common_name: str,
        *,
        now: int,
        valid_for: timedelta,
        usage: Usage,
        organizations: Sequence[str] = (),
        dns_names: Sequence[str] = (),
        ip_addresses: Sequence[str] = (),
    ) -> KeyPair:
        """A new key and its certificate; never valid beyond the authority itself.

        For a client, Kubernetes reads `common_name` as the user and `organizations` as groups; for a server only
        `dns_names` and `ip_addresses` count. Source: Kubernetes, "Authenticating", X.509 client certificates.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            *(x509.DNSName(name) for name in dns_names),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in ip_addresses),
        ]
        begin = max(_moment(now) - CLOCK_SKEW, self._certificate.not_valid_before_utc)
        end = min(_moment(now) + valid_for, self._certificate.not_valid_after_utc)
        if end <= begin:
            raise UnusableCertificate(
                f"A certificate of {common_name} would end at {end.isoformat()}, before it begins: the authority "
                f"{self._certificate.subject.rfc4514_string()} has expired. Make a new authority first."
            )
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(common_name, organizations))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_END_ENTITY_USAGE, critical=True)
            .add_extension(x509.ExtendedKeyUsage(_PURPOSES[usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(certificate.public_bytes(Encoding.PEM), _private_pem(key))


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says, as far as rotation asks. Times in milliseconds."""

    common_name: str
    organizations: tuple[str, ...]
    dns_names: tuple[str, ...]
    ip_addresses: tuple[str, ...]
    begins_at: int
    expires_at: int


def certificate_facts(certificate_pem: bytes) -> CertificateFacts:
    """Read the first certificate of a PEM text; `UnusableCertificate` when there is none."""
    certificate = _parse_certificate(certificate_pem)
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        pass
    else:
        dns_names = tuple(names.get_values_for_type(x509.DNSName))
        addresses = tuple(str(address) for address in names.get_values_for_type(x509.IPAddress))
    return CertificateFacts(
        common_name=next(iter(_names(certificate, NameOID.COMMON_NAME)), ""),
        organizations=_names(certificate, NameOID.ORGANIZATION_NAME),
        dns_names=dns_names,
        ip_addresses=addresses,
        begins_at=_milliseconds(certificate.not_valid_before_utc),
        expires_at=_milliseconds(certificate.not_valid_after_utc),
    )


_PURPOSES = {
    Usage.SERVER: [ExtendedKeyUsageOID.SERVER_AUTH],
    Usage.CLIENT: [ExtendedKeyUsageOID.CLIENT_AUTH],
    Usage.PEER: [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH],
}
_END_ENTITY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def _subject(common_name: str, organizations: Sequence[str]) -> x509.Name:
    if not 0 < len(common_name) <= _COMMON_NAME_LIMIT:
        raise UnusableCertificate(
            f"The common name {common_name!r} has {len(common_name)} characters; X.509 allows 1 to "
            f"{_COMMON_NAME_LIMIT}. Give a short one and put long host names into dns_names."
        )
    return x509.Name(
        [
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _parse_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as err:
        raise UnusableCertificate(f"This is not a PEM certificate: {err}") from err


def _parse_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as err:
        raise UnusableCertificate("This is not an unencrypted private key in PEM.") from err
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise UnusableCertificate("The private key is not an ECDSA key on the curve P-256.")
    return key


def _check_key(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    public = certificate.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey) or _public_bytes(public) != _public_bytes(key.public_key()):
        raise UnusableCertificate(
            f"The private key does not belong to the certificate of {certificate.subject.rfc4514_string()}. "
            "Store the two together, or delete both so that new ones are made."
        )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _names(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> tuple[str, ...]:
    return tuple(str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(kind))


def _public_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000

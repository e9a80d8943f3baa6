"""A stand-in for the Hub's sign-in (OpenID Connect) on this machine, by which Gradio's own routes sign somebody in."""

import base64
import contextlib
import json
import secrets
import time
import urllib.parse

from answering import Handler, answering
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLIENT, SECRET = "an-app-of-the-hub", "which-the-hub-alone-knows"


class Accounts:
    """The provider; whoever is sent there comes back signed in as ``account``."""

    def __init__(self):
        self.account = "ann"
        self.url = ""
        self._key = rsa.generate_private_key(65537, 2048)
        self._nonces = {}  # by the code that was handed out

    def variables(self):
        """What the Hub sets in a Space whose front matter has ``hf_oauth``."""
        return {
            "OAUTH_CLIENT_ID": CLIENT,
            "OAUTH_CLIENT_SECRET": SECRET,
            "OAUTH_SCOPES": "openid profile",
            "OPENID_PROVIDER_URL": self.url,
        }

    def configuration(self):
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/oauth/authorize",
            "token_endpoint": f"{self.url}/oauth/token",
            "jwks_uri": f"{self.url}/oauth/keys",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def back(self, query):
        """Where somebody goes who has said yes."""
        code = secrets.token_urlsafe(16)
        self._nonces[code] = query["nonce"]
        return f"{query['redirect_uri']}&{urllib.parse.urlencode({'code': code, 'state': query['state']})}"

    def token(self, form):
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "sub": f"number-of-{self.account}",
            "iat": now,
            "exp": now + 600,
            "nonce": self._nonces.pop(form["code"]),
            "name": self.account.title(),
            "preferred_username": self.account,
            "profile": f"https://huggingface.co/{self.account}",
            "picture": "",
        }
        signed = f"{_packed({'alg': 'RS256', 'kid': 'key'})}.{_packed(claims)}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return {
            "access_token": secrets.token_urlsafe(16),
            "token_type": "bearer",
            "expires_in": 28_800,
            "scope": "openid profile",
            "id_token": f"{signed}.{_text(signature)}",
        }

    def keys(self):
        numbers = self._key.public_key().public_numbers()
        modulus, exponent = (
            _text(n.to_bytes((n.bit_length() + 7) // 8, "big")) for n in (numbers.n, numbers.e)
        )
        return {"keys": [{"kty": "RSA", "kid": "key", "use": "sig", "n": modulus, "e": exponent}]}


@contextlib.contextmanager
def provider():
    """An ``Accounts`` that answers on a port of this machine."""
    accounts = Accounts()

    class Accounting(Handler):
        def do_GET(self):
            place = urllib.parse.urlsplit(self.path)
            query = dict(urllib.parse.parse_qsl(place.query))
            if place.path == "/oauth/authorize":
                self.send_response(302)
                self.send_header("Location", accounts.back(query))
                self.end_headers()
            elif place.path == "/oauth/keys":
                self.tell(accounts.keys())
            else:
                self.tell(accounts.configuration())

        def do_POST(self):
            form = dict(urllib.parse.parse_qsl(self.body().decode()))
            known = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
            assert self.headers["Authorization"] == f"Basic {known}"
            self.tell(accounts.token(form))

    with answering(Accounting) as (accounts.url, _):
        yield accounts


def _packed(value):
    return _text(json.dumps(value).encode())


def _text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

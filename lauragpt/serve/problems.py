"""What can go wrong with a request, in the shape in which OpenAI's API tells it: `{"error": {"message", "type", "param", "code"}}`."""

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lauragpt.errors import LauraError

# status -> (type, code) where nothing else is said
KINDS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "forbidden"),
    404: ("invalid_request_error", "not_found"),
    405: ("invalid_request_error", "method_not_allowed"),
    408: ("invalid_request_error", "request_timeout"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "server_busy"),
    500: ("server_error", "internal_error"),
    503: ("server_error", "not_ready"),
    504: ("server_error", "time_limit"),
}
LEFT = 499  # the client left: nobody reads the answer, only the log does


class Problem(HTTPException):
    """One clear sentence with its status. `param`: the field that is wrong."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None, headers: dict | None = None):
        super().__init__(status, message, headers)
        self.param, self.code = param, code


class Left(Exception):
    """The client left, so that nobody waits for the answer."""


def too_many_bytes(limit: int) -> Problem:
    return Problem(413, f"the request is larger than {limit / 2**20:g} MiB: send less")


def too_long(limit: float) -> Problem:
    return Problem(413, f"the recording is longer than {limit:g} s: send it in parts", "file")


def late(limit: float) -> Problem:
    way = "send a shorter recording, or ask again when the server is less busy"
    return Problem(504, f"the request took longer than {limit:g} s: {way}", headers={"x-should-retry": "false"})


def response(error: Exception) -> JSONResponse:
    """The answer to a request that failed. An error that nobody foresaw tells nothing of itself."""
    status, message, param, code, headers = 500, "the server failed at this request, which its log says more about", None, None, None
    if isinstance(error, Problem):
        status, message, param, code, headers = error.status_code, error.detail, error.param, error.code, error.headers
    elif isinstance(error, HTTPException):
        status, headers = error.status_code, error.headers
        message = {404: "there is nothing at this path: /openapi.json lists all", 405: "this path does not take that method"}.get(
            status, str(error.detail)
        )
    elif isinstance(error, RequestValidationError):
        status, (message, param) = 400, sentence(error.errors())
    elif isinstance(error, LauraError):
        status, message = 400, str(error)
    elif isinstance(error, UnicodeError):
        status, message = 400, "a text of the request is not Unicode: it holds half of a surrogate pair"
    elif isinstance(error, MemoryError):
        status, message, code = 503, "there is not enough memory for this request: send a shorter recording", "out_of_memory"
    kind, usual = KINDS.get(status, ("invalid_request_error" if status < 500 else "server_error", None))
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code or usual}}, status, headers)


def sentence(errors: list[dict]) -> tuple[str, str | None]:
    """The first of pydantic's complaints as (a sentence, the field that it is about), without what was sent."""
    places = [str(place) for place in errors[0]["loc"] if place not in ("body", "query")]
    what = errors[0]["msg"]
    message = f"{'.'.join(places) or 'the body'}: {what[0].lower()}{what[1:]}"
    return message, places[0] if places else None

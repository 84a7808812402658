"""A program like wstpkernel without Mathics, whose kernels know little: for tests of how kernels begin and end."""
import os
import sys
import threading

from wstpserver.client.errors import LinkError
from wstpserver.embedded.process import PreforkChildren, PreforkParent, PreforkSocket, open_kernel_link
from wstpserver.wire.packets import packet


def run_kernel(arguments):
    """Answer each evaluation with the process ID, until the link is closed or an evaluation says to loop."""
    link = open_kernel_link(arguments)
    link.put(packet("InputNamePacket", "In[1]:= "))
    try:
        while True:
            expression = link.get()
            if "While" in str(expression):
                link.put(packet("TextPacket", "1"))
                threading.Event().wait()
            if expression.head.name == "EvaluatePacket":
                link.put(packet("ReturnPacket", os.getpid()))
    except LinkError:
        return 0


def main():
    words = sys.argv[1:]
    if "--warm-parent" not in words:
        return run_kernel(words)
    parent = PreforkSocket(int(words[words.index("--warm-parent") + 1]))
    parent.send(event="ready")
    return PreforkParent(parent, PreforkChildren(run_kernel)).run()


if __name__ == "__main__":
    sys.exit(main())

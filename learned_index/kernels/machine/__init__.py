"""What the operations share.

===============  ================================================================================
``dispatch``     which version of an operation runs
``parallel``     ranges of rows on several threads; ``forks`` makes that safe to fork
``arrays``       arrays of CPU tensors
``flags``        what LLVM may do with sums of floats
``intrinsics``   instructions that Numba has no name for; ``byte_dots`` products of int8
``exponential``  exp, log and softmax in compiled code
``dense``        products that do not depend on the thread count
``launch``       how Triton kernels are started; ``segments`` groups pairs by a key
``compiling``    which kernels a process had to compile
===============  ================================================================================

A search engine runs without torch: ``dispatch``, ``arrays``, ``launch`` and ``segments`` import it,
the others do not.
"""

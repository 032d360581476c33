"""Models for use without torch.

zero_units    leaves out pruned units
vocabularies  the dictionaries, the subword model and the shortlist
command       `fairseq-bso export`: a checkpoint in, a file of `bso_runtime` out
onnx_graph    a graph node by node, in float32 or int8
onnx_graphs   the same model as a pair of ONNX graphs
"""

"""The RESTful API of Milvus 1.x: the operations of `milvine.server.operations` over HTTP. Needs the
extra `server`.

`app.create_app` makes the application, `receive` takes bodies, `calls` runs operations in threads;
then one module per resource. Nothing here knows protobuf: JSON, npy and Arrow become the same numpy
rows that gRPC requests become.
"""

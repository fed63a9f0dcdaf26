"""The DIMSE services we offer and use: storage, query and retrieve, storage commitment."""

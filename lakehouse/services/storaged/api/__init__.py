"""What the application of storaged is made of.

Modules:

    object_response  the headers of an object's response
    object_list      the query and the document of `/storage/list`
    upload_slots     how many uploads are received at a time, and how many wait
    gauges           the gauges of uploads and memory
"""

"""CSV and TSV: records of text, whose types are decided over all rows.

Modules:

    inspect     the inspection of a file, from the bytes to the columns
    encoding    the encoding; decodes into UTF-8
    dialect     delimiter and quote
    layout      where the table begins, and its header
    records     an exact parser of records
    samples     the first records
    scan        a fast pass over all bytes: UTF-8, line ends, the number of records
    line_ends   different line ends become LF
    exact       an exact pass over all records: irregular ones, their lines
    row_source  the records, counted, in a file that the engine reads
    reader      the SELECT with which the engine reads them
    columns     types and warnings
"""

"""HTML page of studies: one self-contained file, which works offline.

StudyData --content--> Content: blocks of figures, tables, texts --render--> report.html
--serve---> 127.0.0.1, reloading
"""

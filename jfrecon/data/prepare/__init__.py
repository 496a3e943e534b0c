"""Photos, folders and videos to shards, by several processes, resumable after a kill at any point.

`inputs` and `tables` say what there is to do, `share` which of it, `extract` makes samples of a picture,
`parts` keeps what is done, `workers` runs processes, `run` puts the parts together.
"""

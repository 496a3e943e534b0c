"""Photos, folders and videos to shards, by several processes, resumable after a kill at any point.

`inputs` and `tables` say what there is to do, `faces` and `clips` make samples of a picture or a video,
`parts` keeps what is done, `workers` runs processes, `run` puts the parts together.
"""

plugin { id = "vip",
  api = 1, novelty = true }

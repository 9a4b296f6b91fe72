module trivial

go 1.26

require github.com/stagepost/stagepost/sdk/go v0.0.0

replace github.com/stagepost/stagepost/sdk/go => ../../../../../sdk/go

module github.com/stagepost/stagepost/sdk/go

go 1.26

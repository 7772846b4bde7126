// Search every observation of a table with `pulsar search`:
//     nextflow run examples/nextflow --table observations.csv --options='--dm 0 300'
// The table has a line for each file, with the columns `observation` (a name) and `file`.

include { PULSAR_SEARCH } from './modules/local/pulsar/search/main'

workflow {
    observations = channel.fromPath(params.table, checkIfExists: true)
        .splitCsv(header: true)
        .map { row -> tuple(row.observation, file(row.file, checkIfExists: true)) }
        .groupTuple()
        .map { name, files -> tuple([id: name], files) }
    PULSAR_SEARCH(observations, [])
}

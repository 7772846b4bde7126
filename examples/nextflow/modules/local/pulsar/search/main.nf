process PULSAR_SEARCH {
    tag "${meta.id}"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    // The image of .ci/Containerfile.
    container 'pulsar'

    input:
    tuple val(meta), path(files)
    path settings

    output:
    tuple val(meta), path("${prefix}.h5") , emit: product
    tuple val(meta), path("${prefix}.csv"), emit: candidates
    tuple val("${task.process}"), val('pulsar-search'), eval('pulsar --version | cut -d " " -f 2'), topic: versions, emit: versions_pulsar

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def config = settings ? "--config ${settings}" : ''
    // A search may take 30 % more than --memory says.
    def memory = task.memory ? "--memory ${(task.memory.toMega() * 0.75) as long}MiB" : ''
    """
    pulsar search ${files} --out "${prefix}.h5" --threads ${task.cpus} ${memory} --quiet ${config} ${args}
    pulsar candidates "${prefix}.h5" --format csv > "${prefix}.csv"
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch "${prefix}.h5" "${prefix}.csv"
    """
}

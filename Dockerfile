# LPM. torch's usual build carries CUDA; for a small image without it, name the index of torch's CPU builds:
#   docker build --build-arg TORCH_INDEX=ADDRESS -t lpm .
#   docker run --rm -v "$PWD:/data" lpm fit ct /data/ct.nii.gz --out /data/lungs
FROM python:3.12-slim AS build
WORKDIR /source
RUN pip install --no-cache-dir build
COPY pyproject.toml README.md LICENSE CHANGELOG.md ./
COPY src ./src
RUN python -m build --wheel --outdir /wheels

FROM python:3.12-slim
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir torch ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(ls /wheels/*.whl)[pictures,view,dicom,cluster]" && rm -r /wheels
RUN apt-get update && apt-get install -y --no-install-recommends libegl1 libgl1 libxrender1 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home lpm
USER lpm
WORKDIR /data
ENTRYPOINT ["lpm"]
CMD ["--help"]
